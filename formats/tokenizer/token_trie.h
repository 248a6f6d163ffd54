// A TokenTrie finds the longest of a set of strings that a text begins with.
//
// Const methods are thread-safe.

#ifndef STOCKPOT_FORMATS_TOKENIZER_TOKEN_TRIE_H_
#define STOCKPOT_FORMATS_TOKENIZER_TOKEN_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class TokenTrie {
 public:
  // Adds `token` with a value >= 0; an empty token is ignored. A second value
  // for one token replaces the first.
  void Add(absl::string_view token, int32_t value) {
    int32_t node = 0;
    for (const char byte : token) {
      const auto [it, is_new] = edges_.emplace(
          EdgeKey(node, byte), static_cast<int32_t>(values_.size()));
      node = it->second;
      if (is_new) values_.push_back(-1);
    }
    if (node != 0) values_[node] = value;
  }

  // Returns the value of the longest token at the beginning of `text` and sets
  // `*length` to its bytes; -1 when there is none.
  int32_t Longest(absl::string_view text, size_t* length) const {
    int32_t node = 0;
    int32_t found = -1;
    for (size_t i = 0; i < text.size(); ++i) {
      const auto it = edges_.find(EdgeKey(node, text[i]));
      if (it == edges_.end()) break;
      node = it->second;
      if (values_[node] >= 0) {
        found = values_[node];
        *length = i + 1;
      }
    }
    return found;
  }

 private:
  static uint64_t EdgeKey(int32_t node, char byte) {
    return static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(byte);
  }

  absl::flat_hash_map<uint64_t, int32_t> edges_;  // (node, byte) to node.
  std::vector<int32_t> values_ = {-1};  // By node; node 0 is the root.
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_TOKEN_TRIE_H_
