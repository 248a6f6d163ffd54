// MergeOptions out of a golden file's JSON, whose keys are the fields' names.

#ifndef STOCKPOT_TESTS_TESTING_MERGE_OPTIONS_H_
#define STOCKPOT_TESTS_TESTING_MERGE_OPTIONS_H_

#include <string>

#include "nlohmann/json.hpp"

#include "merge/merge_options.h"

namespace stockpot::testing {

inline MergeOptions MergeOptionsFrom(const nlohmann::ordered_json& json) {
  MergeOptions options;
  for (const MergeMethod method : AllMethods()) {
    if (json.at("method") == MethodName(method)) {
      options.method = method;
    }
  }
  const std::string space = json.value("space", "delta");
  options.space = space == "factors" ? MergeSpace::kFactors
                  : space == "core"  ? MergeSpace::kCore
                                     : MergeSpace::kDelta;
  if (json.value("dialect", "peft") == std::string("mergekit")) {
    options.dialect = MergeDialect::kMergekit;
  }
  if (json.value("sign_election", "total") == std::string("frequency")) {
    options.sign_election = SignElection::kFrequency;
  }
  options.elect_signs = json.value("elect_signs", false);
  options.density = json.value("density", options.density);
  options.epsilon = json.value("epsilon", options.epsilon);
  options.gamma = json.value("gamma", options.gamma);
  options.seed = json.value("seed", options.seed);
  options.rank = json.value("rank", options.rank);
  return options;
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_TESTING_MERGE_OPTIONS_H_
