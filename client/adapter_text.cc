#include "client/adapter_text.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace stockpot {

std::string VersionedName(const v1::Adapter& adapter) {
  return absl::StrCat(adapter.name(), "@", adapter.version());
}

std::string RankText(const v1::Adapter& adapter) {
  if (adapter.min_rank() == adapter.max_rank()) {
    return absl::StrCat(adapter.max_rank());
  }
  return absl::StrCat(adapter.min_rank(), "-", adapter.max_rank());
}

std::string LabelText(const v1::Adapter& adapter) {
  const std::map<std::string, std::string> labels(adapter.labels().begin(),
                                                  adapter.labels().end());
  return absl::StrJoin(labels, ",", absl::PairFormatter("="));
}

std::string TrainingText(const v1::Adapter& adapter) {
  const std::map<std::string, std::string> training(adapter.training().begin(),
                                                    adapter.training().end());
  return absl::StrJoin(training, ", ", absl::PairFormatter("="));
}

}  // namespace stockpot
