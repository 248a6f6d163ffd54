// A BpeModel turns one word into ids by byte-pair encoding: it starts from the
// word's characters and joins neighbours in the order of the learned merges.
//
// Immutable and thread-safe.
// Source: Sennrich et al. 2016, arXiv:1508.07909; details as the `tokenizers`
// package, models/bpe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_BPE_MODEL_H_
#define STOCKPOT_FORMATS_TOKENIZER_BPE_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "nlohmann/json_fwd.hpp"

namespace stockpot {

// The largest id that a vocabulary may use, plus one: 16 Mi.
inline constexpr int32_t kMaxVocabSize = 1 << 24;

class BpeModel {
 public:
  // Reads tokenizer.json's "model". `where` is its dotted path.
  //
  // Merges may be "a b" strings or ["a", "b"] pairs. A string whose tokens hold
  // spaces themselves is split where both sides and the whole are tokens.
  // Errors: InvalidArgument; another "type" than BPE, dropout, and a merge of
  // tokens that are not in the vocabulary are refused by name.
  static absl::StatusOr<BpeModel> FromJson(const nlohmann::json& json,
                                           absl::string_view where);

  // Appends the ids of `word`, which is UTF-8, to `ids`. O(n log n).
  //
  // With `forbidden` (indexed by id, or null) no merge gives a token that is
  // marked there: ordinary text then never becomes a control token. A single
  // character that is a token of its own stays one.
  void Encode(absl::string_view word, const std::vector<bool>* forbidden,
              std::vector<int32_t>& ids) const;

  const absl::flat_hash_map<std::string, int32_t>& vocab() const {
    return vocab_;
  }
  absl::optional<int32_t> TokenToId(absl::string_view token) const;

 private:
  struct Merge {
    uint32_t rank = 0;
    int32_t new_id = 0;
  };

  absl::Status ReadVocab(const nlohmann::json& json, absl::string_view where);
  absl::Status ReadOptions(const nlohmann::json& json, absl::string_view where);
  absl::Status ReadMerges(const nlohmann::json& json, absl::string_view where);
  absl::Status AddMerge(absl::string_view left, absl::string_view right,
                        uint32_t rank, absl::string_view where);
  absl::Status AddLegacyMerge(absl::string_view line, uint32_t rank,
                              absl::string_view where);
  // The token that `left` and `right` become; their concatenation, less the
  // continuing prefix of `right`.
  std::string Joined(absl::string_view left, absl::string_view right) const;

  // The ids of the word's characters.
  std::vector<int32_t> InitialIds(absl::string_view word) const;
  bool AppendByteFallback(absl::string_view text,
                          std::vector<int32_t>& ids) const;
  // Both merge `ids` in place and give the same result.
  void MergeByScanning(std::vector<int32_t>& ids,
                       const std::vector<bool>* forbidden) const;
  void MergeByQueue(std::vector<int32_t>& ids,
                    const std::vector<bool>* forbidden) const;
  // Null when the pair does not merge.
  const Merge* FindMerge(int32_t left, int32_t right,
                         const std::vector<bool>* forbidden) const;

  absl::flat_hash_map<std::string, int32_t> vocab_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // Key: left id, right id.
  absl::optional<int32_t> unk_id_;
  std::string continuing_subword_prefix_;
  std::string end_of_word_suffix_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_BPE_MODEL_H_
