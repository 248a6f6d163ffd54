#include "formats/tokenizer/post_processor.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/bpe_model.h"

namespace stockpot {
namespace {

absl::StatusOr<int32_t> ReadId(const nlohmann::json& json,
                               absl::string_view where) {
  if (!json.is_number_integer() || json.get<int64_t>() < 0 ||
      json.get<int64_t>() >= kMaxVocabSize) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected a token id"));
  }
  return json.get<int32_t>();
}

// ["[SEP]", 102]
absl::StatusOr<int32_t> ReadTokenAndId(const nlohmann::json& json,
                                       absl::string_view key,
                                       absl::string_view where) {
  const nlohmann::json* pair = FindNonNull(json, key);
  const std::string here = absl::StrCat(where, ".", key);
  if (pair == nullptr || !pair->is_array() || pair->size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(here, ": expected [token, id]"));
  }
  return ReadId((*pair)[1], here);
}

absl::Status AppendSpecialToken(const nlohmann::json& json,
                                const nlohmann::json& piece,
                                const std::string& where,
                                std::vector<int32_t>& ids) {
  ASSIGN_OR_RETURN(const std::string name, GetString(piece, "id", where));
  const nlohmann::json* all = FindNonNull(json, "special_tokens");
  const nlohmann::json* token =
      all == nullptr ? nullptr : FindNonNull(*all, name);
  const nlohmann::json* list =
      token == nullptr ? nullptr : FindNonNull(*token, "ids");
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ".id: ", Quoted(name), " has no ids in special_tokens"));
  }
  for (const nlohmann::json& id : *list) {
    ASSIGN_OR_RETURN(const int32_t value, ReadId(id, where));
    ids.push_back(value);
  }
  return absl::OkStatus();
}

absl::StatusOr<PostProcessor> ReadTemplate(const nlohmann::json& json,
                                           absl::string_view where) {
  const nlohmann::json* single = FindNonNull(json, "single");
  if (single == nullptr || !single->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".single: expected an array"));
  }
  PostProcessor result;
  bool has_sequence = false;
  for (size_t i = 0; i < single->size(); ++i) {
    const nlohmann::json& piece = (*single)[i];
    const std::string here = absl::StrCat(where, ".single[", i, "]");
    if (const nlohmann::json* special = FindNonNull(piece, "SpecialToken")) {
      RETURN_IF_ERROR(AppendSpecialToken(
          json, *special, here, has_sequence ? result.suffix : result.prefix));
      continue;
    }
    const nlohmann::json* sequence = FindNonNull(piece, "Sequence");
    if (sequence == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(here, ": expected SpecialToken or Sequence"));
    }
    const nlohmann::json* id = FindNonNull(*sequence, "id");
    if (id == nullptr || *id != "A" || has_sequence) {
      return absl::InvalidArgumentError(absl::StrCat(
          here, ": a single sequence must hold \"A\" once and nothing else"));
    }
    has_sequence = true;
  }
  if (!has_sequence) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".single: the sequence \"A\" is missing"));
  }
  return result;
}

absl::StatusOr<PostProcessor> ReadSequence(const nlohmann::json& json,
                                           absl::string_view where) {
  const nlohmann::json* list = FindNonNull(json, "processors");
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".processors: expected an array"));
  }
  PostProcessor result;
  for (size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(
        const PostProcessor step,
        PostProcessor::FromJson((*list)[i],
                                absl::StrCat(where, ".processors[", i, "]")));
    // Each later step goes around the earlier ones.
    result.prefix.insert(result.prefix.begin(), step.prefix.begin(),
                         step.prefix.end());
    result.suffix.insert(result.suffix.end(), step.suffix.begin(),
                         step.suffix.end());
  }
  return result;
}

}  // namespace

absl::StatusOr<PostProcessor> PostProcessor::FromJson(
    const nlohmann::json& json, absl::string_view where) {
  if (json.is_null()) return PostProcessor();
  ASSIGN_OR_RETURN(const std::string type, GetString(json, "type", where));
  if (type == "TemplateProcessing") return ReadTemplate(json, where);
  if (type == "ByteLevel") return PostProcessor();
  if (type == "Sequence") return ReadSequence(json, where);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(const int32_t cls, ReadTokenAndId(json, "cls", where));
    ASSIGN_OR_RETURN(const int32_t sep, ReadTokenAndId(json, "sep", where));
    return PostProcessor{{cls}, {sep}};
  }
  return absl::InvalidArgumentError(absl::StrCat(
      where, ".type: the post-processor ", Quoted(type), " is not supported"));
}

}  // namespace stockpot
