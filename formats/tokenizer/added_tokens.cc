#include "formats/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/bpe_model.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

constexpr size_t kMaxContentBytes = 4096;

bool HasWordBefore(absl::string_view text, size_t at) {
  if (at == 0) return false;
  size_t pos = PreviousCharStart(text, at);
  return IsWordCharacter(NextChar(text, &pos));
}

bool HasWordAfter(absl::string_view text, size_t at) {
  return at < text.size() && IsWordCharacter(NextChar(text, &at));
}

// The start of the white space that ends at `at`, not before `floor`.
size_t SpaceBefore(absl::string_view text, size_t at, size_t floor) {
  while (at > floor) {
    const size_t previous = PreviousCharStart(text, at);
    size_t pos = previous;
    if (!IsWhitespace(NextChar(text, &pos))) break;
    at = previous;
  }
  return at;
}

size_t SpaceAfter(absl::string_view text, size_t at) {
  while (at < text.size()) {
    size_t pos = at;
    if (!IsWhitespace(NextChar(text, &pos))) break;
    at = pos;
  }
  return at;
}

absl::StatusOr<AddedToken> ReadToken(const nlohmann::json& json,
                                     const Normalizer& normalizer,
                                     const std::string& where) {
  AddedToken token;
  ASSIGN_OR_RETURN(token.content, GetString(json, "content", where));
  if (token.content.empty() || token.content.size() > kMaxContentBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ".content: expected 1 to ", kMaxContentBytes, " bytes"));
  }
  ASSIGN_OR_RETURN(const int64_t id,
                   GetInt(json, "id", 0, kMaxVocabSize - 1, where));
  token.id = static_cast<int32_t>(id);
  ASSIGN_OR_RETURN(token.special, GetBoolOr(json, "special", false, where));
  ASSIGN_OR_RETURN(token.single_word,
                   GetBoolOr(json, "single_word", false, where));
  ASSIGN_OR_RETURN(token.lstrip, GetBoolOr(json, "lstrip", false, where));
  ASSIGN_OR_RETURN(token.rstrip, GetBoolOr(json, "rstrip", false, where));
  ASSIGN_OR_RETURN(token.normalized,
                   GetBoolOr(json, "normalized", !token.special, where));
  token.pattern = token.content;
  if (token.normalized) {
    ASSIGN_OR_RETURN(token.pattern, normalizer.Normalize(token.content));
  }
  return token;
}

}  // namespace

absl::StatusOr<AddedTokens> AddedTokens::FromJson(const nlohmann::json& json,
                                                  const Normalizer& normalizer,
                                                  absl::string_view where) {
  AddedTokens added;
  if (json.is_null()) return added;
  if (!json.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected an array"));
  }
  absl::flat_hash_set<std::string> contents;
  absl::flat_hash_set<int32_t> ids;
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string here = absl::StrCat(where, "[", i, "]");
    ASSIGN_OR_RETURN(AddedToken token, ReadToken(json[i], normalizer, here));
    if (!contents.insert(token.content).second ||
        !ids.insert(token.id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(here, ": the content ", Quoted(token.content),
                       " or the id ", token.id, " stands in the list twice"));
    }
    added.tokens_.push_back(std::move(token));
  }
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    (token.normalized ? added.normalized_ : added.raw_)
        .Add(token.pattern, static_cast<int32_t>(i));
  }
  return added;
}

std::vector<AddedTokens::Segment> AddedTokens::Find(absl::string_view text,
                                                    bool normalized,
                                                    bool parse_special) const {
  const TokenTrie& trie = normalized ? normalized_ : raw_;
  std::vector<Segment> segments;
  size_t covered = 0;
  size_t i = 0;
  while (i < text.size()) {
    size_t length = 0;
    const int32_t index = trie.Longest(text.substr(i), &length);
    if (index < 0) {
      ++i;
      continue;
    }
    const AddedToken& token = tokens_[index];
    size_t begin = i;
    size_t end = i + length;
    i = end;  // A match that is turned down below is not searched again.
    if (token.special && !parse_special) continue;
    if (token.single_word &&
        (HasWordBefore(text, begin) || HasWordAfter(text, end))) {
      continue;
    }
    // A token whose white space reached into this one came before it.
    begin = std::max(begin, covered);
    if (token.lstrip) begin = SpaceBefore(text, begin, covered);
    if (token.rstrip) end = SpaceAfter(text, end);
    if (begin > covered) segments.push_back({covered, begin, nullptr});
    segments.push_back({begin, std::max(begin, end), &token});
    covered = std::max(covered, end);
  }
  if (covered < text.size()) {
    segments.push_back({covered, text.size(), nullptr});
  }
  return segments;
}

}  // namespace stockpot
