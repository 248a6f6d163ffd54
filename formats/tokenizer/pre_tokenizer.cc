#include "formats/tokenizer/pre_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/metaspace.h"
#include "formats/tokenizer/pattern.h"
#include "formats/tokenizer/split_behavior.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

using PreTokenizerOr = absl::StatusOr<std::unique_ptr<PreTokenizer>>;

// Source: github.com/openai/gpt-2, src/encoder.py.
constexpr char kGpt2Regex[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+)"
    R"(|\s+(?!\S)|\s+)";

absl::Status Emit(const Piece& piece, const MatchSpan& span,
                  PreTokenizer::Sink sink) {
  if (span.begin == span.end) return absl::OkStatus();
  return sink({piece.text.substr(span.begin, span.end - span.begin),
               piece.is_first && span.begin == 0});
}

absl::Status EmitSplit(const Piece& piece, std::vector<MatchSpan> matches,
                       SplitBehavior behavior, PreTokenizer::Sink sink) {
  for (const MatchSpan& s : ApplySplitBehavior(std::move(matches), behavior)) {
    RETURN_IF_ERROR(Emit(piece, s, sink));
  }
  return absl::OkStatus();
}

// The spans of `text` by character: each that is `in_class` is one match.
template <typename InClass>
std::vector<MatchSpan> FindCharacters(absl::string_view text,
                                      InClass in_class) {
  std::vector<MatchSpan> spans;
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    if (!in_class(NextChar(text, &i))) continue;
    if (begin > covered) {
      spans.push_back({static_cast<uint32_t>(covered),
                       static_cast<uint32_t>(begin), false});
    }
    spans.push_back(
        {static_cast<uint32_t>(begin), static_cast<uint32_t>(i), true});
    covered = i;
  }
  if (covered < text.size()) {
    spans.push_back({static_cast<uint32_t>(covered),
                     static_cast<uint32_t>(text.size()), false});
  }
  return spans;
}

class SequencePreTokenizer final : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(
      std::vector<std::unique_ptr<PreTokenizer>> steps)
      : steps_(std::move(steps)) {}
  absl::Status Split(const Piece& piece, Sink sink) const override {
    return SplitFrom(0, piece, sink);
  }

 private:
  absl::Status SplitFrom(size_t step, const Piece& piece, Sink sink) const {
    if (piece.text.empty()) return absl::OkStatus();
    if (step == steps_.size()) return sink(piece);
    return steps_[step]->Split(piece, [&](const Piece& part) {
      return SplitFrom(step + 1, part, sink);
    });
  }

  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

class ByteLevelPreTokenizer final : public PreTokenizer {
 public:
  ByteLevelPreTokenizer(bool add_prefix_space, absl::optional<Pattern> regex)
      : add_prefix_space_(add_prefix_space), regex_(std::move(regex)) {}
  absl::Status Split(const Piece& piece, Sink sink) const override {
    Piece whole = piece;
    std::string prefixed;
    if (add_prefix_space_ && !absl::StartsWith(piece.text, " ")) {
      prefixed = absl::StrCat(" ", piece.text);
      whole.text = prefixed;
    }
    const auto map_and_emit = [&](const Piece& part) {
      const std::string mapped = ToByteAlphabet(part.text);
      return sink({mapped, part.is_first});
    };
    if (!regex_.has_value()) return map_and_emit(whole);
    ASSIGN_OR_RETURN(std::vector<MatchSpan> matches,
                     regex_->FindMatches(whole.text));
    return EmitSplit(whole, std::move(matches), SplitBehavior::kIsolated,
                     map_and_emit);
  }

 private:
  bool add_prefix_space_;
  absl::optional<Pattern> regex_;
};

class SplitPreTokenizer final : public PreTokenizer {
 public:
  SplitPreTokenizer(Pattern pattern, SplitBehavior behavior, bool is_inverted)
      : pattern_(std::move(pattern)),
        behavior_(behavior),
        is_inverted_(is_inverted) {}
  absl::Status Split(const Piece& piece, Sink sink) const override {
    ASSIGN_OR_RETURN(std::vector<MatchSpan> matches,
                     pattern_.FindMatches(piece.text));
    if (is_inverted_) {
      for (MatchSpan& span : matches) span.is_match = !span.is_match;
    }
    return EmitSplit(piece, std::move(matches), behavior_, sink);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool is_inverted_;
};

// Splits at the characters of one class.
class CharacterPreTokenizer final : public PreTokenizer {
 public:
  using Class = bool (*)(char32_t);
  CharacterPreTokenizer(Class in_class, SplitBehavior behavior)
      : in_class_(in_class), behavior_(behavior) {}
  absl::Status Split(const Piece& piece, Sink sink) const override {
    return EmitSplit(piece, FindCharacters(piece.text, in_class_), behavior_,
                     sink);
  }

 private:
  Class in_class_;
  SplitBehavior behavior_;
};

// Runs of word characters, and runs of what is neither word nor space.
class WhitespacePreTokenizer final : public PreTokenizer {
 public:
  absl::Status Split(const Piece& piece, Sink sink) const override {
    const absl::string_view text = piece.text;
    size_t begin = 0;
    Kind kind = Kind::kSpace;
    for (size_t i = 0; i < text.size();) {
      const size_t at = i;
      const Kind here = KindOf(NextChar(text, &i));
      if (here == kind) continue;
      RETURN_IF_ERROR(EmitRun(piece, kind, begin, at, sink));
      begin = at;
      kind = here;
    }
    return EmitRun(piece, kind, begin, text.size(), sink);
  }

 private:
  enum class Kind { kSpace, kWord, kOther };
  static Kind KindOf(char32_t c) {
    if (IsWordCharacter(c)) return Kind::kWord;
    return IsWhitespace(c) ? Kind::kSpace : Kind::kOther;
  }
  static absl::Status EmitRun(const Piece& piece, Kind kind, size_t begin,
                              size_t end, Sink sink) {
    if (kind == Kind::kSpace) return absl::OkStatus();
    return Emit(
        piece,
        {static_cast<uint32_t>(begin), static_cast<uint32_t>(end), false},
        sink);
  }
};

class MetaspacePreTokenizer final : public PreTokenizer {
 public:
  explicit MetaspacePreTokenizer(Metaspace metaspace)
      : metaspace_(std::move(metaspace)),
        delimiter_(Pattern::Literal(metaspace_.replacement)) {}
  absl::Status Split(const Piece& piece, Sink sink) const override {
    const std::string& mark = metaspace_.replacement;
    std::string text = absl::StrReplaceAll(piece.text, {{" ", mark}});
    const bool wants_prefix =
        metaspace_.prepend == Metaspace::Prepend::kAlways ||
        (metaspace_.prepend == Metaspace::Prepend::kFirst && piece.is_first);
    if (wants_prefix && !absl::StartsWith(text, mark)) text.insert(0, mark);
    const Piece whole = {text, piece.is_first};
    if (!metaspace_.split) return sink(whole);
    ASSIGN_OR_RETURN(std::vector<MatchSpan> matches,
                     delimiter_.FindMatches(text));
    return EmitSplit(whole, std::move(matches), SplitBehavior::kMergedWithNext,
                     sink);
  }

 private:
  Metaspace metaspace_;
  Pattern delimiter_;
};

PreTokenizerOr ReadSequence(const nlohmann::json& json,
                            absl::string_view where) {
  const nlohmann::json* list = FindNonNull(json, "pretokenizers");
  if (list == nullptr || !list->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".pretokenizers: expected an array"));
  }
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (size_t i = 0; i < list->size(); ++i) {
    ASSIGN_OR_RETURN(
        auto step,
        PreTokenizer::FromJson((*list)[i],
                               absl::StrCat(where, ".pretokenizers[", i, "]")));
    steps.push_back(std::move(step));
  }
  return std::make_unique<SequencePreTokenizer>(std::move(steps));
}

PreTokenizerOr ReadByteLevel(const nlohmann::json& json,
                             absl::string_view where) {
  ASSIGN_OR_RETURN(const bool add_prefix_space,
                   GetBool(json, "add_prefix_space", where));
  ASSIGN_OR_RETURN(const bool use_regex,
                   GetBoolOr(json, "use_regex", true, where));
  absl::optional<Pattern> regex;
  if (use_regex) {
    ASSIGN_OR_RETURN(regex, Pattern::Regex(kGpt2Regex));
  }
  return std::make_unique<ByteLevelPreTokenizer>(add_prefix_space,
                                                 std::move(regex));
}

PreTokenizerOr ReadSplit(const nlohmann::json& json, absl::string_view where) {
  const nlohmann::json* pattern_json = FindNonNull(json, "pattern");
  if (pattern_json == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".pattern: missing"));
  }
  ASSIGN_OR_RETURN(
      Pattern pattern,
      Pattern::FromJson(*pattern_json, absl::StrCat(where, ".pattern")));
  ASSIGN_OR_RETURN(const std::string name, GetString(json, "behavior", where));
  ASSIGN_OR_RETURN(const SplitBehavior behavior,
                   ParseSplitBehavior(name, where));
  ASSIGN_OR_RETURN(const bool invert, GetBool(json, "invert", where));
  return std::make_unique<SplitPreTokenizer>(std::move(pattern), behavior,
                                             invert);
}

}  // namespace

PreTokenizerOr PreTokenizer::FromJson(const nlohmann::json& json,
                                      absl::string_view where) {
  if (json.is_null()) {
    return std::make_unique<SequencePreTokenizer>(
        std::vector<std::unique_ptr<PreTokenizer>>());
  }
  ASSIGN_OR_RETURN(const std::string type, GetString(json, "type", where));
  if (type == "Sequence") return ReadSequence(json, where);
  if (type == "ByteLevel") return ReadByteLevel(json, where);
  if (type == "Split") return ReadSplit(json, where);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool individual,
                     GetBool(json, "individual_digits", where));
    return std::make_unique<CharacterPreTokenizer>(
        &IsNumeric,
        individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Whitespace") return std::make_unique<WhitespacePreTokenizer>();
  if (type == "WhitespaceSplit") {
    return std::make_unique<CharacterPreTokenizer>(&IsWhitespace,
                                                   SplitBehavior::kRemoved);
  }
  if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const std::string name,
                     GetStringOr(json, "behavior", "Isolated", where));
    ASSIGN_OR_RETURN(const SplitBehavior behavior,
                     ParseSplitBehavior(name, where));
    return std::make_unique<CharacterPreTokenizer>(&IsPunctuation, behavior);
  }
  if (type == "Metaspace") {
    ASSIGN_OR_RETURN(Metaspace metaspace, Metaspace::FromJson(json, where));
    return std::make_unique<MetaspacePreTokenizer>(std::move(metaspace));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      where, ".type: the pre-tokenizer ", Quoted(type), " is not supported"));
}

}  // namespace stockpot
