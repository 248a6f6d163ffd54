// An HfTokenizer is a tokenizer.json: normalizer, pre-tokenizer, BPE model,
// added tokens, post-processor and decoder.
//
// Immutable and thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_HF_TOKENIZER_H_
#define STOCKPOT_FORMATS_TOKENIZER_HF_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "nlohmann/json_fwd.hpp"

#include "formats/tokenizer/added_tokens.h"
#include "formats/tokenizer/bpe_model.h"
#include "formats/tokenizer/decoder.h"
#include "formats/tokenizer/normalizer.h"
#include "formats/tokenizer/post_processor.h"
#include "formats/tokenizer/pre_tokenizer.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_config.h"

namespace stockpot {

class HfTokenizer final : public Tokenizer {
 public:
  // Builds the tokenizer that `json`, the content of a tokenizer.json,
  // describes. Of `config` it takes the names of BOS and EOS.
  // Errors: InvalidArgument names the component by its dotted path.
  static absl::StatusOr<std::unique_ptr<HfTokenizer>> FromJson(
      const nlohmann::json& json, const TokenizerConfig& config);

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
  struct Token {
    std::string text;  // What the decoder gets.
    bool exists = false;
  };

  explicit HfTokenizer(BpeModel model) : model_(std::move(model)) {}

  absl::Status FillTokens();
  absl::Status CheckIds() const;
  // Encodes text between added tokens that are not normalized.
  absl::Status EncodePart(const Piece& part, const EncodeOptions& options,
                          std::vector<int32_t>& ids) const;

  BpeModel model_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  AddedTokens added_;
  PostProcessor post_processor_;
  Decoder decoder_;
  std::vector<Token> tokens_;     // By id.
  std::vector<bool> is_special_;  // By id.
  absl::optional<int32_t> bos_id_;
  absl::optional<int32_t> eos_id_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_HF_TOKENIZER_H_
