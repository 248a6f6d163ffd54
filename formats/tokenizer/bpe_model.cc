#include "formats/tokenizer/bpe_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"
#include "formats/tokenizer/merge_queue.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
         static_cast<uint32_t>(right);
}

// Words up to here are merged by scanning, which beats a queue.
constexpr size_t kMaxScannedSymbols = 32;

}  // namespace

absl::StatusOr<BpeModel> BpeModel::FromJson(const nlohmann::json& json,
                                            absl::string_view where) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected an object"));
  }
  std::string implied = "BPE";
  if (FindNonNull(json, "merges") == nullptr) {
    implied = FindNonNull(json, "unk_id") != nullptr ? "Unigram" : "unknown";
  }
  ASSIGN_OR_RETURN(const std::string type,
                   GetStringOr(json, "type", implied, where));
  if (type != "BPE") {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".type: the model ", Quoted(type),
                     " is not supported; expected \"BPE\""));
  }
  BpeModel model;
  RETURN_IF_ERROR(model.ReadVocab(json, where));
  RETURN_IF_ERROR(model.ReadOptions(json, where));
  RETURN_IF_ERROR(model.ReadMerges(json, where));
  return model;
}

absl::Status BpeModel::ReadVocab(const nlohmann::json& json,
                                 absl::string_view where) {
  const nlohmann::json* vocab = FindNonNull(json, "vocab");
  if (vocab == nullptr || !vocab->is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".vocab: expected an object of token to id"));
  }
  vocab_.reserve(vocab->size());
  absl::flat_hash_map<int32_t, absl::string_view> seen;
  seen.reserve(vocab->size());
  for (const auto& [token, id] : vocab->items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 ||
        id.get<int64_t>() >= kMaxVocabSize) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".vocab[", Quoted(token),
                       "]: expected an id from 0 to ", kMaxVocabSize - 1));
    }
    const int32_t value = id.get<int32_t>();
    const auto [it, is_new] = seen.emplace(value, token);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".vocab: ", Quoted(it->second), " and ",
                       Quoted(token), " both have the id ", value));
    }
    vocab_.emplace(token, value);
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadOptions(const nlohmann::json& json,
                                   absl::string_view where) {
  ASSIGN_OR_RETURN(const double dropout,
                   GetDoubleOr(json, "dropout", 0.0, 0.0, 1.0, where));
  if (dropout != 0.0) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ".dropout: encoding must not be random; set it to null"));
  }
  ASSIGN_OR_RETURN(fuse_unk_, GetBoolOr(json, "fuse_unk", false, where));
  ASSIGN_OR_RETURN(byte_fallback_,
                   GetBoolOr(json, "byte_fallback", false, where));
  ASSIGN_OR_RETURN(ignore_merges_,
                   GetBoolOr(json, "ignore_merges", false, where));
  ASSIGN_OR_RETURN(continuing_subword_prefix_,
                   GetStringOr(json, "continuing_subword_prefix", "", where));
  ASSIGN_OR_RETURN(end_of_word_suffix_,
                   GetStringOr(json, "end_of_word_suffix", "", where));
  ASSIGN_OR_RETURN(const auto unk_token,
                   GetOptionalString(json, "unk_token", where));
  if (unk_token.has_value()) {
    unk_id_ = TokenToId(*unk_token);
    if (!unk_id_.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".unk_token: ", Quoted(*unk_token),
                       " is not in the vocabulary"));
    }
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadMerges(const nlohmann::json& json,
                                  absl::string_view where) {
  const nlohmann::json* merges = FindNonNull(json, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".merges: expected an array"));
  }
  merges_.reserve(merges->size());
  uint32_t rank = 0;
  for (size_t i = 0; i < merges->size(); ++i) {
    const nlohmann::json& merge = (*merges)[i];
    const auto here = [&] { return absl::StrCat(where, ".merges[", i, "]"); };
    if (merge.is_string()) {
      const auto& line = merge.get_ref<const std::string&>();
      if (absl::StartsWith(line, "#version")) continue;
      RETURN_IF_ERROR(AddLegacyMerge(line, rank++, here()));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      RETURN_IF_ERROR(AddMerge(merge[0].get_ref<const std::string&>(),
                               merge[1].get_ref<const std::string&>(), rank++,
                               here()));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(here(), ": expected \"left right\" or two strings"));
    }
  }
  return absl::OkStatus();
}

std::string BpeModel::Joined(absl::string_view left,
                             absl::string_view right) const {
  right.remove_prefix(
      std::min(right.size(), continuing_subword_prefix_.size()));
  return absl::StrCat(left, right);
}

absl::Status BpeModel::AddMerge(absl::string_view left, absl::string_view right,
                                uint32_t rank, absl::string_view where) {
  const absl::optional<int32_t> left_id = TokenToId(left);
  const absl::optional<int32_t> right_id = TokenToId(right);
  const std::string joined = Joined(left, right);
  const absl::optional<int32_t> new_id = TokenToId(joined);
  if (!left_id.has_value() || !right_id.has_value() || !new_id.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", Quoted(left), " + ", Quoted(right), " = ",
                     Quoted(joined), ": not all three are in the vocabulary"));
  }
  merges_[PairKey(*left_id, *right_id)] = {rank, *new_id};
  return absl::OkStatus();
}

absl::Status BpeModel::AddLegacyMerge(absl::string_view line, uint32_t rank,
                                      absl::string_view where) {
  size_t split = line.find(' ');
  if (split != line.rfind(' ')) {
    size_t num_fits = 0;
    for (size_t at = split; at != absl::string_view::npos;
         at = line.find(' ', at + 1)) {
      const absl::string_view left = line.substr(0, at);
      const absl::string_view right = line.substr(at + 1);
      if (vocab_.contains(left) && vocab_.contains(right) &&
          vocab_.contains(Joined(left, right))) {
        split = at;
        ++num_fits;
      }
    }
    if (num_fits != 1) split = absl::string_view::npos;
  }
  if (split == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": ", Quoted(line),
        " does not name two tokens of the "
        "vocabulary with one space between; write them as [left, right]"));
  }
  return AddMerge(line.substr(0, split), line.substr(split + 1), rank, where);
}

absl::optional<int32_t> BpeModel::TokenToId(absl::string_view token) const {
  const auto it = vocab_.find(token);
  if (it == vocab_.end()) return absl::nullopt;
  return it->second;
}

bool BpeModel::AppendByteFallback(absl::string_view text,
                                  std::vector<int32_t>& ids) const {
  const size_t old_size = ids.size();
  for (const char b : text) {
    const absl::optional<int32_t> id =
        TokenToId(absl::StrFormat("<0x%02X>", static_cast<uint8_t>(b)));
    if (!id.has_value()) {
      ids.resize(old_size);
      return false;
    }
    ids.push_back(*id);
  }
  return true;
}

std::vector<int32_t> BpeModel::InitialIds(absl::string_view word) const {
  std::vector<int32_t> ids;
  ids.reserve(word.size());
  bool has_unk = false;  // An unknown token not appended yet.
  for (size_t i = 0; i < word.size();) {
    const size_t begin = i;
    NextChar(word, &i);
    const std::string text =
        absl::StrCat(begin > 0 ? continuing_subword_prefix_ : "",
                     word.substr(begin, i - begin),
                     i == word.size() ? end_of_word_suffix_ : "");
    if (const absl::optional<int32_t> id = TokenToId(text); id.has_value()) {
      if (has_unk) ids.push_back(*unk_id_);
      has_unk = false;
      ids.push_back(*id);
    } else if (byte_fallback_ && AppendByteFallback(text, ids)) {
      continue;
    } else if (unk_id_.has_value()) {
      if (has_unk && !fuse_unk_) ids.push_back(*unk_id_);
      has_unk = true;
    }
    // Else the character is dropped, as the `tokenizers` package does.
  }
  if (has_unk) ids.push_back(*unk_id_);
  return ids;
}

const BpeModel::Merge* BpeModel::FindMerge(
    int32_t left, int32_t right, const std::vector<bool>* forbidden) const {
  const auto it = merges_.find(PairKey(left, right));
  if (it == merges_.end()) return nullptr;
  if (forbidden != nullptr && (*forbidden)[it->second.new_id]) return nullptr;
  return &it->second;
}

void BpeModel::MergeByScanning(std::vector<int32_t>& ids,
                               const std::vector<bool>* forbidden) const {
  std::vector<const Merge*> merges;  // Of ids[i] and ids[i + 1].
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    merges.push_back(FindMerge(ids[i], ids[i + 1], forbidden));
  }
  while (true) {
    size_t best = merges.size();
    for (size_t i = 0; i < merges.size(); ++i) {
      if (merges[i] != nullptr &&
          (best == merges.size() || merges[i]->rank < merges[best]->rank)) {
        best = i;
      }
    }
    if (best == merges.size()) return;
    ids[best] = merges[best]->new_id;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
    merges.erase(merges.begin() + static_cast<ptrdiff_t>(best));
    if (best > 0) {
      merges[best - 1] = FindMerge(ids[best - 1], ids[best], forbidden);
    }
    if (best < merges.size()) {
      merges[best] = FindMerge(ids[best], ids[best + 1], forbidden);
    }
  }
}

void BpeModel::MergeByQueue(std::vector<int32_t>& ids,
                            const std::vector<bool>* forbidden) const {
  struct Symbol {
    int32_t id;
    int32_t previous;  // Index of the symbol to the left, or -1.
    int32_t next;      // Index of the symbol to the right, or -1.
    bool is_merged;    // Into the symbol to its left.
  };
  const int32_t n = static_cast<int32_t>(ids.size());
  std::vector<Symbol> symbols(ids.size());
  for (int32_t i = 0; i < n; ++i) {
    symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1, false};
  }
  MergeQueue queue;
  const auto find = [&](int32_t left, int32_t right) -> const Merge* {
    const bool is_pair = left >= 0 && right >= 0;
    return is_pair ? FindMerge(symbols[left].id, symbols[right].id, forbidden)
                   : nullptr;
  };
  const auto enqueue = [&](int32_t left, int32_t right) {
    const Merge* merge = find(left, right);
    if (merge != nullptr) queue.Push(merge->rank, {left, merge->new_id});
  };
  for (int32_t i = 0; i + 1 < n; ++i) enqueue(i, i + 1);
  MergeQueue::Item item;
  while (queue.Pop(&item)) {
    Symbol& left = symbols[item.left];
    // The pair may have changed since it was queued.
    const Merge* merge = left.is_merged ? nullptr : find(item.left, left.next);
    if (merge == nullptr || merge->new_id != item.check) continue;

    Symbol& right = symbols[left.next];
    left.id = item.check;
    left.next = right.next;
    right.is_merged = true;
    if (right.next >= 0) symbols[right.next].previous = item.left;
    enqueue(left.previous, item.left);
    enqueue(item.left, left.next);
  }
  ids.clear();
  for (const Symbol& symbol : symbols) {
    if (!symbol.is_merged) ids.push_back(symbol.id);
  }
}

void BpeModel::Encode(absl::string_view word,
                      const std::vector<bool>* forbidden,
                      std::vector<int32_t>& ids) const {
  if (word.empty()) return;
  if (ignore_merges_) {
    const absl::optional<int32_t> id = TokenToId(word);
    if (id.has_value() && (forbidden == nullptr || !(*forbidden)[*id])) {
      ids.push_back(*id);
      return;
    }
  }
  std::vector<int32_t> word_ids = InitialIds(word);
  if (word_ids.size() <= kMaxScannedSymbols) {
    MergeByScanning(word_ids, forbidden);
  } else {
    MergeByQueue(word_ids, forbidden);
  }
  ids.insert(ids.end(), word_ids.begin(), word_ids.end());
}

}  // namespace stockpot
