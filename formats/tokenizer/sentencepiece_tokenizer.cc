#include "formats/tokenizer/sentencepiece_tokenizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/merge_queue.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

using PieceType = SentencePieceModel::PieceType;

constexpr absl::string_view kSpaceSymbol = "\xE2\x96\x81";  // U+2581
constexpr size_t kMaxTextBytes = 64 << 20;

bool IsOneCharacter(absl::string_view text) {
  size_t end = 0;
  NextChar(text, &end);
  return end == text.size();
}

absl::Status CheckSupported(const SentencePieceModel& model) {
  using Type = SentencePieceModel::ModelType;
  if (model.model_type != Type::kBpe) {
    return absl::InvalidArgumentError(
        absl::StrCat("trainer_spec.model_type: ",
                     model.model_type == Type::kUnigram ? "UNIGRAM"
                     : model.model_type == Type::kWord  ? "WORD"
                                                        : "CHAR",
                     " is not supported; expected BPE"));
  }
  if (model.treat_whitespace_as_suffix) {
    return absl::InvalidArgumentError(
        "trainer_spec.treat_whitespace_as_suffix: not supported");
  }
  if (!model.denormalizer_charsmap.empty()) {
    return absl::InvalidArgumentError("denormalizer_spec: not supported");
  }
  return absl::OkStatus();
}

}  // namespace

// Joins the characters of one normalized text to pieces, best score first.
// Source: github.com/google/sentencepiece, src/bpe_model.cc.
class SentencePieceTokenizer::Merger {
 public:
  Merger(const SentencePieceTokenizer& tokenizer, absl::string_view text)
      : tokenizer_(tokenizer), text_(text) {}

  // Calls `take(piece)` for each piece in order.
  template <typename Take>
  void Run(Take take) {
    AddSymbols();
    for (int32_t i = 1; i < static_cast<int32_t>(symbols_.size()); ++i) {
      Enqueue(i - 1, i);
    }
    MergeQueue::Item item;
    while (queue_.Pop(&item)) {
      Symbol& left = symbols_[item.left];
      if (left.size == 0 || left.next < 0) continue;
      Symbol& right = symbols_[left.next];
      // Symbols only grow: another size means that one of the two changed.
      const uint32_t size = left.size + right.size;
      if (size != static_cast<uint32_t>(item.check)) continue;
      left.size = size;
      left.next = right.next;
      if (right.next >= 0) symbols_[right.next].previous = item.left;
      right.size = 0;
      Enqueue(left.previous, item.left);
      Enqueue(item.left, left.next);
    }
    for (const Symbol& symbol : symbols_) {
      if (symbol.size > 0) Resegment(TextOf(symbol), take);
    }
  }

 private:
  struct Symbol {
    uint32_t begin;
    uint32_t size;  // 0: merged into the symbol to its left.
    int32_t previous;
    int32_t next;
    bool is_frozen;
  };

  absl::string_view TextOf(const Symbol& symbol) const {
    return text_.substr(symbol.begin, symbol.size);
  }

  void AddSymbols() {
    for (size_t i = 0; i < text_.size();) {
      const size_t begin = i;
      size_t length = 0;
      const bool is_frozen =
          tokenizer_.user_defined_.Longest(text_.substr(begin), &length) >= 0;
      if (is_frozen) {
        i += length;
      } else {
        NextChar(text_, &i);
      }
      const int32_t index = static_cast<int32_t>(symbols_.size());
      symbols_.push_back({static_cast<uint32_t>(begin),
                          static_cast<uint32_t>(i - begin), index - 1,
                          i < text_.size() ? index + 1 : -1, is_frozen});
    }
  }

  void Enqueue(int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Symbol& a = symbols_[left];
    const Symbol& b = symbols_[right];
    const uint32_t size = a.size + b.size;
    if (a.is_frozen || b.is_frozen || size > tokenizer_.max_entry_bytes_) {
      return;
    }
    const absl::string_view piece = text_.substr(a.begin, size);
    const auto it = tokenizer_.entries_.find(piece);
    if (it == tokenizer_.entries_.end()) return;
    queue_.Push(it->second.rank, {left, static_cast<int32_t>(size)});
    if (it->second.type == PieceType::kUnused) {
      origins_[piece] = {TextOf(a), TextOf(b)};
    }
  }

  // An unused piece helps to build longer ones; left alone it comes apart.
  template <typename Take>
  void Resegment(absl::string_view piece, Take take) {
    std::vector<absl::string_view> stack = {piece};
    while (!stack.empty()) {
      const absl::string_view top = stack.back();
      stack.pop_back();
      const auto it = tokenizer_.entries_.find(top);
      const bool is_unused = it != tokenizer_.entries_.end() &&
                             it->second.type == PieceType::kUnused;
      const auto origin = is_unused ? origins_.find(top) : origins_.end();
      if (origin == origins_.end()) {
        take(top);
      } else {
        stack.push_back(origin->second.second);
        stack.push_back(origin->second.first);
      }
    }
  }

  const SentencePieceTokenizer& tokenizer_;
  absl::string_view text_;
  std::vector<Symbol> symbols_;
  MergeQueue queue_;
  absl::flat_hash_map<absl::string_view,
                      std::pair<absl::string_view, absl::string_view>>
      origins_;
};

class SentencePieceTokenizer::State final : public DecodeState {
 public:
  State(const SentencePieceTokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  void Push(int32_t id, std::string& out) override {
    if (id < 0 || id >= tokenizer_.vocab_size()) return;
    const Token& token = tokenizer_.tokens_[id];
    if (token.kind == Kind::kNone) return;
    if (token.kind == Kind::kByte) {
      const char byte = static_cast<char>(token.byte);
      bytes_.Push(absl::string_view(&byte, 1), out);
      has_text_ = true;
      return;
    }
    bytes_.Finish(out);
    if (had_leading_space_ || has_text_) is_leading_ = false;
    had_leading_space_ = false;
    const size_t old_size = out.size();
    switch (token.kind) {
      case Kind::kSpecial:
        if (!skip_special_) out.append(token.text);
        break;
      case Kind::kAdded:
        out.append(token.text);
        break;
      case Kind::kUnknown:
        out.append(tokenizer_.model_.unk_surface);
        break;
      default:
        PushText(token.text, out);
    }
    if (out.size() > old_size) has_text_ = true;
  }
  void Finish(std::string& out) override { bytes_.Finish(out); }

 private:
  void PushText(absl::string_view piece, std::string& out) {
    const SentencePieceModel& model = tokenizer_.model_;
    if (is_leading_ &&
        (model.add_dummy_prefix || model.remove_extra_whitespaces) &&
        absl::StartsWith(piece, kSpaceSymbol)) {
      piece.remove_prefix(kSpaceSymbol.size());
      // With extra spaces removed, all leading ones go.
      had_leading_space_ = !model.remove_extra_whitespaces;
    }
    out.append(absl::StrReplaceAll(piece, {{kSpaceSymbol, " "}}));
  }

  const SentencePieceTokenizer& tokenizer_;
  bool skip_special_;
  LossyUtf8 bytes_{LossyUtf8::Replace::kPerByte};
  bool is_leading_ = true;          // A leading space would be the prefix.
  bool had_leading_space_ = false;  // The last piece gave the prefix up.
  bool has_text_ = false;
};

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>>
SentencePieceTokenizer::FromModel(SentencePieceModel model,
                                  const TokenizerConfig& config) {
  RETURN_IF_ERROR(CheckSupported(model));
  std::unique_ptr<SentencePieceTokenizer> result(new SentencePieceTokenizer());
  ASSIGN_OR_RETURN(result->charsmap_,
                   Charsmap::Parse(model.precompiled_charsmap));
  result->model_ = std::move(model);
  RETURN_IF_ERROR(result->AddPieces());
  RETURN_IF_ERROR(result->AddTokens(config));
  result->bos_id_ =
      result->TokenToId(config.bos_token.value_or(result->model_.bos_piece));
  result->eos_id_ =
      result->TokenToId(config.eos_token.value_or(result->model_.eos_piece));
  result->add_bos_ =
      config.add_bos_token.value_or(true) && result->bos_id_.has_value();
  result->add_eos_ =
      config.add_eos_token.value_or(false) && result->eos_id_.has_value();
  return result;
}

absl::Status SentencePieceTokenizer::AddPieces() {
  absl::flat_hash_map<absl::string_view, int32_t> bytes;
  tokens_.resize(model_.pieces.size());
  for (size_t i = 0; i < model_.pieces.size(); ++i) {
    const SentencePieceModel::Piece& piece = model_.pieces[i];
    const int32_t id = static_cast<int32_t>(i);
    Token& token = tokens_[i];
    token.text = piece.text;
    switch (piece.type) {
      case PieceType::kControl:
        token.kind = Kind::kSpecial;
        break;
      case PieceType::kUnknown:
        token.kind = Kind::kUnknown;
        unk_id_ = id;
        break;
      case PieceType::kByte:
        token.kind = Kind::kByte;
        bytes[piece.text] = id;
        break;
      default:
        token.kind = Kind::kText;
        if (!entries_.emplace(piece.text, Entry{id, 0, piece.type}).second) {
          return absl::InvalidArgumentError(absl::StrCat(
              "pieces[", i, "]: ", Quoted(piece.text), " stands there twice"));
        }
        max_entry_bytes_ = std::max(max_entry_bytes_, piece.text.size());
    }
  }
  RankEntries();
  for (int b = 0; b < 256; ++b) {
    const auto it = bytes.find(absl::StrFormat("<0x%02X>", b));
    if (it != bytes.end()) {
      tokens_[it->second].byte = static_cast<uint8_t>(b);
      byte_ids_.push_back(it->second);
    }
  }
  if (byte_ids_.size() != bytes.size() ||
      (model_.byte_fallback && bytes.size() != 256)) {
    return absl::InvalidArgumentError(
        absl::StrCat("pieces: expected <0x00> to <0xFF> for the byte "
                     "fallback, found ",
                     byte_ids_.size()));
  }
  return absl::OkStatus();
}

void SentencePieceTokenizer::RankEntries() {
  std::vector<float> scores;
  for (const auto& [text, entry] : entries_) {
    scores.push_back(model_.pieces[entry.id].score);
  }
  std::sort(scores.begin(), scores.end(), std::greater<float>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  for (auto& [text, entry] : entries_) {
    entry.rank = static_cast<uint32_t>(
        std::lower_bound(scores.begin(), scores.end(),
                         model_.pieces[entry.id].score, std::greater<float>()) -
        scores.begin());
  }
}

absl::Status SentencePieceTokenizer::AddTokens(const TokenizerConfig& config) {
  nlohmann::json list = nlohmann::json::array();
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].kind != Kind::kSpecial) continue;
    list.push_back(
        {{"content", tokens_[i].text}, {"id", i}, {"special", true}});
  }
  for (nlohmann::json token : config.added_tokens) {
    ASSIGN_OR_RETURN(const std::string content, GetString(token, "content"));
    const absl::optional<int32_t> piece = TokenToId(content);
    const bool is_special =
        token.contains("special") && token["special"] == true;
    if (piece.has_value()) {
      Token& known = tokens_[*piece];
      // A letter that also pads stays a letter.
      if (known.kind != Kind::kText || !is_special || IsOneCharacter(content)) {
        continue;
      }
      known.kind = Kind::kSpecial;
      entries_.erase(content);
      token["id"] = *piece;
    } else if (!token.contains("id")) {
      continue;  // Named, but there is no such token.
    }
    token["normalized"] = false;
    list.push_back(token);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Normalizer> identity,
                   Normalizer::FromJson(nlohmann::json(), ""));
  ASSIGN_OR_RETURN(added_,
                   AddedTokens::FromJson(list, *identity, "added tokens"));
  for (const AddedToken& token : added_.tokens()) {
    if (static_cast<size_t>(token.id) >= tokens_.size()) {
      tokens_.resize(token.id + 1);
    }
    tokens_[token.id].text = token.content;
    tokens_[token.id].kind = token.special ? Kind::kSpecial : Kind::kAdded;
  }
  for (const auto& [text, entry] : entries_) {
    if (entry.type == PieceType::kUserDefined)
      user_defined_.Add(text, entry.id);
  }
  return absl::OkStatus();
}

absl::string_view SentencePieceTokenizer::NormalizePrefix(
    absl::string_view text, size_t* length) const {
  if (user_defined_.Longest(text, length) >= 0) return text.substr(0, *length);
  const Charsmap::Match match = charsmap_.Longest(text);
  if (match.length > 0) {
    *length = match.length;
    return match.replacement;
  }
  *length = 0;
  NextChar(text, length);
  return text.substr(0, *length);
}

// Source: github.com/google/sentencepiece, src/normalizer.cc.
std::string SentencePieceTokenizer::Normalize(absl::string_view text) const {
  const absl::string_view space =
      model_.escape_whitespaces ? kSpaceSymbol : absl::string_view(" ");
  const bool removes_spaces = model_.remove_extra_whitespaces;
  size_t length = 0;
  while (removes_spaces && !text.empty() &&
         NormalizePrefix(text, &length) == " ") {
    text.remove_prefix(length);
  }
  std::string out;
  if (text.empty()) return out;
  if (model_.add_dummy_prefix) out.append(space.data(), space.size());
  bool after_space = removes_spaces;
  while (!text.empty()) {
    absl::string_view part = NormalizePrefix(text, &length);
    while (after_space && absl::StartsWith(part, " ")) part.remove_prefix(1);
    for (const char c : part) {
      if (c == ' ') {
        out.append(space.data(), space.size());
      } else {
        out.push_back(c);
      }
    }
    if (!part.empty()) after_space = removes_spaces && part.back() == ' ';
    text.remove_prefix(length);
  }
  while (removes_spaces && absl::EndsWith(out, space)) {
    out.resize(out.size() - space.size());
  }
  return out;
}

void SentencePieceTokenizer::EncodePart(absl::string_view text,
                                        std::vector<int32_t>& ids) const {
  const std::string normalized = Normalize(text);
  bool after_unknown = false;
  Merger(*this, normalized).Run([&](absl::string_view piece) {
    const auto it = entries_.find(piece);
    if (it != entries_.end()) {
      ids.push_back(it->second.id);
    } else if (model_.byte_fallback) {
      for (const char b : piece) {
        ids.push_back(byte_ids_[static_cast<uint8_t>(b)]);
      }
    } else if (!after_unknown) {
      ids.push_back(unk_id_);  // A run of unknown characters is one.
    }
    after_unknown = it == entries_.end();
  });
}

absl::StatusOr<std::vector<int32_t>> SentencePieceTokenizer::Encode(
    absl::string_view text, const EncodeOptions& options) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "text of ", text.size(), " bytes; at most ", kMaxTextBytes));
  }
  RETURN_IF_ERROR(ValidateUtf8(text));
  std::vector<int32_t> ids;
  if (options.add_special_tokens && add_bos_) ids.push_back(*bos_id_);
  for (const AddedTokens::Segment& segment :
       added_.Find(text, /*normalized=*/false, options.parse_special_tokens)) {
    if (segment.token != nullptr) {
      ids.push_back(segment.token->id);
    } else {
      EncodePart(text.substr(segment.begin, segment.end - segment.begin), ids);
    }
  }
  if (options.add_special_tokens && add_eos_) ids.push_back(*eos_id_);
  return ids;
}

absl::StatusOr<std::string> SentencePieceTokenizer::Decode(
    absl::Span<const int32_t> ids, bool skip_special) const {
  State state(*this, skip_special);
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ids[", i, "] = ", ids[i], " is outside [0, ", vocab_size(), ")"));
    }
    state.Push(ids[i], text);
  }
  state.Finish(text);
  return text;
}

std::unique_ptr<DecodeState> SentencePieceTokenizer::NewDecodeState(
    bool skip_special) const {
  return std::make_unique<State>(*this, skip_special);
}

absl::optional<int32_t> SentencePieceTokenizer::TokenToId(
    absl::string_view token) const {
  const auto it = entries_.find(token);
  if (it != entries_.end()) return it->second.id;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (tokens_[i].kind != Kind::kNone && tokens_[i].text == token) {
      return static_cast<int32_t>(i);
    }
  }
  return absl::nullopt;
}

absl::optional<std::string> SentencePieceTokenizer::IdToToken(
    int32_t id) const {
  if (id < 0 || id >= vocab_size() || tokens_[id].kind == Kind::kNone) {
    return absl::nullopt;
  }
  return tokens_[id].text;
}

bool SentencePieceTokenizer::IsSpecial(int32_t id) const {
  return id >= 0 && id < vocab_size() && tokens_[id].kind == Kind::kSpecial;
}

}  // namespace stockpot
