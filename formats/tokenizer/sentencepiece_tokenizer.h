// A SentencePieceTokenizer is a tokenizer.model of type BPE.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
#define STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"

#include "formats/tokenizer/added_tokens.h"
#include "formats/tokenizer/charsmap.h"
#include "formats/tokenizer/sentencepiece_model.h"
#include "formats/tokenizer/token_trie.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_config.h"

namespace stockpot {

// Encode gives what SentencePieceProcessor::Encode gives, behind a BOS unless
// add_bos_token in tokenizer_config.json is false. Text between added tokens
// is encoded as a text of its own.
//
// Decode with skip_special gives what SentencePieceProcessor::Decode gives.
// Special are the control pieces and special added tokens; the unknown piece is
// not, it becomes its surface, " ⁇ ".
class SentencePieceTokenizer final : public Tokenizer {
 public:
  // Errors: InvalidArgument; a model type other than BPE is refused by name.
  static absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>> FromModel(
      SentencePieceModel model, const TokenizerConfig& config);

  absl::StatusOr<std::vector<int32_t>> Encode(
      absl::string_view text, const EncodeOptions& options) const override;
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids,
                                     bool skip_special) const override;
  std::unique_ptr<DecodeState> NewDecodeState(bool skip_special) const override;
  int32_t vocab_size() const override {
    return static_cast<int32_t>(tokens_.size());
  }
  absl::optional<int32_t> TokenToId(absl::string_view token) const override;
  absl::optional<std::string> IdToToken(int32_t id) const override;
  bool IsSpecial(int32_t id) const override;
  absl::optional<int32_t> bos_id() const override { return bos_id_; }
  absl::optional<int32_t> eos_id() const override { return eos_id_; }

 private:
  class State;
  class Merger;
  enum class Kind { kNone, kText, kAdded, kSpecial, kUnknown, kByte };
  struct Token {
    std::string text;
    Kind kind = Kind::kNone;
    uint8_t byte = 0;  // Of kByte.
  };
  struct Entry {
    int32_t id = 0;
    uint32_t rank = 0;  // By score, the best first; equal scores share one.
    SentencePieceModel::PieceType type;
  };

  SentencePieceTokenizer() = default;

  absl::Status AddPieces();
  void RankEntries();
  absl::Status AddTokens(const TokenizerConfig& config);
  std::string Normalize(absl::string_view text) const;
  // The part of the normalized text that stands at the beginning of `text`;
  // sets `*length` to the bytes that it stands for.
  absl::string_view NormalizePrefix(absl::string_view text,
                                    size_t* length) const;
  void EncodePart(absl::string_view text, std::vector<int32_t>& ids) const;

  SentencePieceModel model_;
  Charsmap charsmap_;
  // Pieces that text can become; the views point into `model_`.
  absl::flat_hash_map<absl::string_view, Entry> entries_;
  size_t max_entry_bytes_ = 0;
  TokenTrie user_defined_;  // Pieces that are never split; values are ids.
  AddedTokens added_;
  std::vector<Token> tokens_;  // By id.
  std::vector<int32_t> byte_ids_;
  int32_t unk_id_ = 0;
  absl::optional<int32_t> bos_id_;
  absl::optional<int32_t> eos_id_;
  bool add_bos_ = false;
  bool add_eos_ = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
