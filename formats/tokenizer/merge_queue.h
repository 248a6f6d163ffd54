// A MergeQueue gives out possible merges: lowest rank first, then leftmost.
//
// Not thread-safe: each word has its own.

#ifndef STOCKPOT_FORMATS_TOKENIZER_MERGE_QUEUE_H_
#define STOCKPOT_FORMATS_TOKENIZER_MERGE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace stockpot {

// One list for each rank instead of one heap of all merges: the ranks in use
// are few, and the lists are nearly always filled from left to right. On a word
// of a million characters this is several times faster. Items that come out of
// order go to a heap of their rank, so the worst case stays O(n log n).
class MergeQueue {
 public:
  struct Item {
    int32_t left = 0;   // Index of the left symbol.
    int32_t check = 0;  // What the caller needs to tell a merge gone stale.
  };

  void Push(uint32_t rank, Item item) {
    Bucket& bucket = buckets_[rank];
    if (bucket.empty()) {
      bucket.list.clear();
      bucket.next = 0;
      ranks_.push(rank);
    }
    if (bucket.list.empty() || bucket.list.back().left <= item.left) {
      bucket.list.push_back(item);
    } else {
      bucket.late.push(item);
    }
  }

  // Returns false when the queue is empty.
  bool Pop(Item* item) {
    if (ranks_.empty()) return false;
    Bucket& bucket = buckets_[ranks_.top()];
    const bool has_listed = bucket.next < bucket.list.size();
    if (!bucket.late.empty() &&
        (!has_listed ||
         bucket.late.top().left < bucket.list[bucket.next].left)) {
      *item = bucket.late.top();
      bucket.late.pop();
    } else {
      *item = bucket.list[bucket.next++];
    }
    if (bucket.empty()) ranks_.pop();
    return true;
  }

 private:
  struct IsRightOf {
    bool operator()(const Item& a, const Item& b) const {
      return a.left > b.left;
    }
  };
  struct Bucket {
    bool empty() const { return next == list.size() && late.empty(); }

    std::vector<Item> list;  // Sorted.
    size_t next = 0;         // Items of `list` before it were popped.
    std::priority_queue<Item, std::vector<Item>, IsRightOf> late;
  };

  absl::flat_hash_map<uint32_t, Bucket> buckets_;
  // The ranks whose buckets hold items.
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<uint32_t>>
      ranks_;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_MERGE_QUEUE_H_
