// The keys that PEFT writes into adapter_config.json.

#ifndef STOCKPOT_FORMATS_PEFT_KEYS_H_
#define STOCKPOT_FORMATS_PEFT_KEYS_H_

#include "absl/strings/string_view.h"

namespace stockpot {

// True for a top-level key that some version of PEFT writes for a kind that is
// served.
bool IsKnownPeftKey(absl::string_view key);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_PEFT_KEYS_H_
