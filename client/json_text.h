// What --json prints: one object per line, numbers as numbers, field names as
// in the protos. Pure functions.

#ifndef STOCKPOT_CLIENT_JSON_TEXT_H_
#define STOCKPOT_CLIENT_JSON_TEXT_H_

#include <string>

#include <nlohmann/json.hpp>

#include "proto/stockpot/v1/admin.pb.h"
#include "proto/stockpot/v1/generation.pb.h"
#include "proto/stockpot/v1/registry.pb.h"

namespace stockpot {

// Keeps the order in which fields were set.
using Json = nlohmann::ordered_json;

// On one line. Strings that are not UTF-8 are mended, never refused.
std::string ToLine(const Json& json);

// `with_text`: also description, card, adapter_config and the inspection, which
// can be long.
Json ToJson(const v1::Adapter& adapter, bool with_text);
Json ToJson(const v1::AdapterInspection& inspection);
Json ToJson(const v1::ServerInfo& info);
Json ToJson(const v1::RegistryStatus& registry);
Json ToJson(const v1::ResolvedRecipe& recipe);
Json ToJson(const v1::ListResidentResponse& resident);
Json ToJson(const v1::SavedRecipe& recipe);
Json ToJson(const v1::Usage& usage);
// Seconds.
Json ToJson(const v1::Timings& timings);
Json ToJson(const v1::Token& token);

// "eos", "stop", "length" or "unspecified".
std::string FinishReasonText(v1::FinishReason reason);

// "2026-11-21T04:44:02Z"; empty for the epoch, which means unset.
std::string TimeText(const google::protobuf::Timestamp& time);

double Seconds(const google::protobuf::Duration& duration);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_JSON_TEXT_H_
