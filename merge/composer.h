// A Composer turns a recipe into the Composition that a sequence runs with, and
// keeps recent ones in memory.
//
// Two caches, each charged in bytes: decoded adapters, shared by all recipes,
// and the mixing coefficients of a recipe. A new recipe over adapters in memory
// costs a few numbers, not a merge.

#ifndef STOCKPOT_MERGE_COMPOSER_H_
#define STOCKPOT_MERGE_COMPOSER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/charged_cache.h"
#include "base/digest.h"
#include "base/metrics.h"
#include "merge/adapter.h"
#include "merge/composition.h"
#include "merge/recipe.h"

namespace stockpot {

class Composer {
 public:
  struct Options {
    // Decoded adapters. Also the most that running calls may hold together.
    int64_t adapter_cache_bytes = int64_t{1} << 30;
    int64_t composition_cache_bytes = int64_t{64} << 20;
  };

  // `source` and `metrics` (may be null) must outlive the composer.
  Composer(AdapterSource* source, const Options& options, Metrics* metrics);

  struct Result {
    std::shared_ptr<const Composition> composition;  // Null: the base model.
    bool hit = true;  // Nothing had to be loaded or built.
  };

  // Thread-safe. Concurrent calls load an adapter and build a recipe once.
  // Blocks for storage, so it is not for gRPC reactions.
  // Errors: those of AdapterSource::Load(), and ResourceExhausted when the
  // adapters of running calls leave no room.
  absl::StatusOr<Result> Compose(const Recipe& recipe);

  CacheStats AdapterStats() const { return adapters_.Stats(); }
  CacheStats CompositionStats() const { return compositions_.Stats(); }

 private:
  absl::StatusOr<std::shared_ptr<const Adapter>> GetAdapter(
      const Digest& digest, bool* hit);

  AdapterSource* const source_;
  Metrics* const metrics_;
  ChargedCache<Digest, Adapter> adapters_;
  ChargedCache<Digest, MixingCoefficients> compositions_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_COMPOSER_H_
