// A Composer turns a recipe into the Composition that a sequence runs with, and
// keeps recent ones in memory.
//
// Two caches, each charged in bytes: adapters, shared by all recipes, and the
// mixing coefficients of a recipe. A new recipe over adapters in memory costs a
// few numbers, not a merge. Methods that are more than coefficients are merged
// once into an adapter of their own, kept beside the decoded ones under the
// recipe's digest.

#ifndef STOCKPOT_MERGE_COMPOSER_H_
#define STOCKPOT_MERGE_COMPOSER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "base/charged_cache.h"
#include "base/digest.h"
#include "base/metrics.h"
#include "base/stop_check.h"
#include "formats/adapter_layout.h"
#include "merge/adapter.h"
#include "merge/adapter_merger.h"
#include "merge/composition.h"
#include "merge/recipe.h"

namespace stockpot {

class Composer {
 public:
  struct Options {
    // Decoded and derived adapters. Also the most that running calls and
    // adapters being loaded or merged may hold together.
    int64_t adapter_cache_bytes = int64_t{1} << 30;
    int64_t composition_cache_bytes = int64_t{64} << 20;
    // The base model's, for messages. Must outlive the composer.
    absl::Span<const BaseModule> modules = {};
  };

  // `source`, `metrics` (may be null) and `merger` must outlive the composer.
  // Without a merger, recipes that need one are Unimplemented.
  Composer(AdapterSource* source, const Options& options, Metrics* metrics,
           AdapterMerger* merger = nullptr);

  struct Result {
    std::shared_ptr<const Composition> composition;  // Null: the base model.
    bool hit = true;  // Nothing had to be loaded or built: hot.
    Temperature temperature = Temperature::kHot;
  };

  // Thread-safe. Concurrent calls load an adapter and build a recipe once.
  // Blocks for storage and for merging, so it is not for gRPC reactions.
  //
  // `stopped` says that the call has ended: it then waits no longer for others,
  // and a merge that nobody else waits for stops (AdapterMerger::Merge()). An
  // adapter that is being loaded is loaded to its end.
  //
  // Errors: those of AdapterSource::Load(), MixingOf() and
  // AdapterMerger::Merge(); ResourceExhausted when the adapters of running
  // calls leave no room; FailedPrecondition when an adapter is larger than the
  // cache; Cancelled once stopped. Nothing of a failed build is kept.
  absl::StatusOr<Result> Compose(const Recipe& recipe,
                                 const StopCheck& stopped = nullptr);

  // What is in memory: adapters by digest, those derived from a recipe by the
  // recipe's; coefficients by recipe.
  std::vector<CacheEntry<Digest>> Adapters() const {
    return adapters_.Entries();
  }
  std::vector<CacheEntry<Digest>> Compositions() const {
    return compositions_.Entries();
  }

  CacheStats AdapterStats() const { return adapters_.Stats(); }
  CacheStats CompositionStats() const { return compositions_.Stats(); }

 private:
  using AdapterList = std::vector<std::shared_ptr<const Adapter>>;

  absl::StatusOr<std::shared_ptr<const Adapter>> GetAdapter(
      const Digest& digest, bool* hit, const StopCheck& stopped);
  // The recipe's, in its order. Clears `*hit` if one had to be loaded.
  absl::StatusOr<AdapterList> GetAdapters(const Recipe& recipe, bool* hit,
                                          const StopCheck& stopped);
  // Makes room for the build of `key`.
  absl::Status Reserve(const Digest& key, int64_t bytes);

  absl::StatusOr<std::shared_ptr<const Composition>> Mix(
      const Recipe& recipe, const StopCheck& stopped, Temperature* temperature);
  absl::StatusOr<std::shared_ptr<const Composition>> Derive(
      const Recipe& recipe, const StopCheck& stopped, Temperature* temperature);

  AdapterSource* const source_;
  AdapterMerger* const merger_;
  const absl::Span<const BaseModule> modules_;
  Metrics* const metrics_;
  ChargedCache<Digest, Adapter> adapters_;
  ChargedCache<Digest, MixingCoefficients> compositions_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_COMPOSER_H_
