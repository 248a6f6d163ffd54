// How adapters are shown to people. Pure functions.

#ifndef STOCKPOT_CLIENT_ADAPTER_TEXT_H_
#define STOCKPOT_CLIENT_ADAPTER_TEXT_H_

#include <string>

#include "proto/stockpot/v1/registry.pb.h"

namespace stockpot {

std::string VersionedName(const v1::Adapter& adapter);  // "facts@3"
std::string RankText(const v1::Adapter& adapter);       // "8" or "4-16"
std::string LabelText(const v1::Adapter& adapter);      // "a=1,b=2", by key.
// "lora_alpha=16, r=8", by key.
std::string TrainingText(const v1::Adapter& adapter);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_ADAPTER_TEXT_H_
