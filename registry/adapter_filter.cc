#include "registry/adapter_filter.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/digest.h"
#include "base/status_macros.h"
#include "registry/adapter_ref.h"
#include "registry/key_codec.h"

namespace stockpot {
namespace {

constexpr size_t kMaxTextBytes = 256;
constexpr size_t kMaxBaseModelBytes = 1024;
constexpr size_t kMaxModules = 64;

// "q_proj" means every module that ends so: "layers.0.q_proj".
bool Targets(const storage::v1::AdapterManifest& manifest,
             const std::string& module) {
  return std::any_of(manifest.target_modules().begin(),
                     manifest.target_modules().end(),
                     [&](const std::string& target) {
                       return target == module ||
                              absl::EndsWith(target, absl::StrCat(".", module));
                     });
}

bool IsBaseModel(const storage::v1::AdapterManifest& manifest,
                 const std::string& base_model) {
  const absl::StatusOr<Digest> digest = Digest::Parse(base_model);
  return digest.ok() ? manifest.base_model_digest() == EncodeDigest(*digest)
                     : manifest.base_model() == base_model;
}

}  // namespace

absl::Status ValidateFilter(const AdapterFilter& filter) {
  RETURN_IF_ERROR(ValidateText("filter.text", filter.text, kMaxTextBytes));
  RETURN_IF_ERROR(
      ValidateText("filter.base_model", filter.base_model, kMaxBaseModelBytes));
  if (filter.target_modules.size() > kMaxModules) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter.target_modules has ", filter.target_modules.size(),
                     " entries; at most ", kMaxModules));
  }
  for (const std::string& module : filter.target_modules) {
    RETURN_IF_ERROR(
        ValidateText("filter.target_modules", module, kMaxTextBytes));
  }
  if (filter.max_rank != 0 && filter.max_rank < filter.min_rank) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter.max_rank is ", filter.max_rank,
                     ", below filter.min_rank, ", filter.min_rank));
  }
  if (filter.max_bytes != 0 && filter.max_bytes < filter.min_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter.max_size_bytes is ", filter.max_bytes,
                     ", below filter.min_size_bytes, ", filter.min_bytes));
  }
  return absl::OkStatus();
}

bool MatchesFilter(const AdapterFilter& filter,
                   const storage::v1::AdapterManifest& manifest) {
  const absl::Time created = absl::FromUnixMicros(manifest.create_time_us());
  return manifest.max_rank() >= filter.min_rank &&
         (filter.max_rank == 0 || manifest.max_rank() <= filter.max_rank) &&
         manifest.size_bytes() >= filter.min_bytes &&
         (filter.max_bytes == 0 || manifest.size_bytes() <= filter.max_bytes) &&
         created >= filter.created_from && created < filter.created_before &&
         (filter.base_model.empty() ||
          IsBaseModel(manifest, filter.base_model)) &&
         std::all_of(filter.target_modules.begin(), filter.target_modules.end(),
                     [&](const std::string& module) {
                       return Targets(manifest, module);
                     });
}

bool HoldsText(absl::string_view text, absl::string_view wanted) {
  return std::search(text.begin(), text.end(), wanted.begin(), wanted.end(),
                     [](char a, char b) {
                       return absl::ascii_tolower(a) == absl::ascii_tolower(b);
                     }) != text.end() ||
         wanted.empty();
}

}  // namespace stockpot
