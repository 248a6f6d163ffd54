// How an adapter was trained, as its adapter_config.json says.

#ifndef STOCKPOT_FORMATS_TRAINING_FACTS_H_
#define STOCKPOT_FORMATS_TRAINING_FACTS_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace stockpot {

// The keys of `adapter_config` that say how it was trained, for people to read:
// those that PEFT writes, whose value is a scalar, each as JSON without the
// quotes of a string ("8", "0.05", "true", "CAUSAL_LM"). Keys whose value is
// null, a list, an object, or longer than 256 bytes are left out, and so is
// what Adapter has fields of its own for, or what says nothing of training.
//
// Empty for a text that is no JSON object. Never fails: what is stored was
// judged at its upload.
std::map<std::string, std::string> TrainingFacts(
    absl::string_view adapter_config);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TRAINING_FACTS_H_
