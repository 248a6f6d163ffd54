// What a PEFT config may ask for and Stockpot does not do yet, each with its
// sentence.

#ifndef STOCKPOT_FORMATS_ADAPTER_REFUSALS_H_
#define STOCKPOT_FORMATS_ADAPTER_REFUSALS_H_

#include "absl/status/status.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

// Checks `root`, an object with a "peft_type", for settings that change what
// the adapter computes in a way that is not built.
// Errors: Unimplemented, which names the field and says what to do;
// InvalidArgument for a field of the wrong type.
absl::Status RefuseUnsupported(const nlohmann::ordered_json& root);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_REFUSALS_H_
