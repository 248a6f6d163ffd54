// A RecipeStore keeps saved recipes: immutable versions under names, and
// aliases that move over them.
//
// All methods are safe to call from many threads at once. A save is durable and
// visible, or absent, after a crash. Every method may touch the disk and block.
// What a recipe says is opaque here, but for the adapters that it names: while
// a saved recipe names one, the last name of that adapter cannot be deleted.

#ifndef STOCKPOT_REGISTRY_RECIPE_STORE_H_
#define STOCKPOT_REGISTRY_RECIPE_STORE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/digest.h"
#include "registry/adapter_ref.h"

namespace stockpot {

inline constexpr size_t kMaxRecipeBytes = size_t{512} << 10;
// As many as a recipe has skills.
inline constexpr size_t kMaxRecipeAdapters = 64;

struct RecipeSpec {
  std::string name;                // As an adapter's; a name space of its own.
  std::optional<int64_t> version;  // Default: the highest ever plus 1.
  std::string recipe;              // Canonical; decides whether two are equal.
  std::string resolved;            // What it meant when it was saved.
  std::vector<Digest> adapters;    // That it names; each once.
  Labels labels;
  std::string description;
};

struct RecipeRecord {
  std::string name;
  int64_t version = 0;
  std::string recipe;
  std::string resolved;
  Labels labels;
  std::string description;
  std::vector<std::string> aliases;  // Sorted.
  absl::Time create_time;
};

struct RecipeListOptions {
  std::string name_prefix;
  Labels labels;              // All must match.
  bool all_versions = false;  // Default: the newest of each name.
  uint32_t page_size = 0;     // In [0, 1000]; 0: 100.
  std::string page_token;     // Empty: from the start.
};

struct RecipePage {
  std::vector<RecipeRecord> records;  // By name, then version.
  std::string next_page_token;        // Empty: no more.
};

class RecipeStore {
 public:
  virtual ~RecipeStore() = default;

  // Makes the recipe visible and durable. An equal recipe under an equal name
  // and version (or, with no version declared, as the newest version of the
  // name) is saved already: its record comes back as it is. A version number
  // that was deleted is taken for good, except by the recipe that it had.
  //
  // Errors: InvalidArgument (name, version, labels, texts, sizes);
  // AlreadyExists (name@version is or was another recipe); NotFound (an adapter
  // is not stored any more); FailedPrecondition (versions of the name are used
  // up); ResourceExhausted, Unavailable (disk; the outcome is unknown and the
  // same recipe may be sent again).
  virtual absl::StatusOr<RecipeRecord> Save(const RecipeSpec& spec) = 0;

  // What `ref` means now. Errors: InvalidArgument (a digest); NotFound (names
  // the versions and aliases that there are).
  virtual absl::StatusOr<RecipeRecord> Get(const AdapterRef& ref) = 0;

  // One page; as AdapterStore::List(). Errors: InvalidArgument.
  virtual absl::StatusOr<RecipePage> List(const RecipeListOptions& options) = 0;

  // Removes one version and the aliases that point at it. A bare name is enough
  // only if the name has one version. Errors: as Get(); FailedPrecondition (say
  // which version); ResourceExhausted, Unavailable (disk).
  virtual absl::Status Delete(const AdapterRef& ref) = 0;

  // Points `name`@`alias` at `version`, wherever it pointed before.
  // Errors: InvalidArgument; NotFound; FailedPrecondition (more than 256
  // aliases); ResourceExhausted, Unavailable (disk).
  virtual absl::StatusOr<RecipeRecord> SetAlias(absl::string_view name,
                                                absl::string_view alias,
                                                int64_t version) = 0;

  // Errors: InvalidArgument; NotFound; ResourceExhausted, Unavailable (disk).
  virtual absl::Status DeleteAlias(absl::string_view name,
                                   absl::string_view alias) = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_RECIPE_STORE_H_
