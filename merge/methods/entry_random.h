// Random bits for the entries of a tensor: a function of what they are for, not
// of what was drawn before. So masks are the same on every machine, for any
// number of threads, and whatever part of a tensor is looked at first.
//
// SplitMix64 (Steele, Lea, Flood 2014), started from a hash of the seed and of
// two numbers that tell streams apart.

#ifndef STOCKPOT_MERGE_METHODS_ENTRY_RANDOM_H_
#define STOCKPOT_MERGE_METHODS_ENTRY_RANDOM_H_

#include <cstdint>

namespace stockpot {

class EntryRandom {
 public:
  // Of the tensor of `term` within `stream`.
  EntryRandom(uint64_t seed, uint64_t stream, uint64_t term)
      : key_(Next(Next(Next(seed) + stream) + term)) {}

  // Uniform; entry i's bits are output i of SplitMix64 from the key.
  uint32_t Bits(uint64_t entry) const {
    return static_cast<uint32_t>(Next(key_ + entry * kStep) >> 32);
  }

  // Bits() below it have the probability `p`, to 2^-32. REQUIRES: 0 <= p <= 1.
  static uint64_t Threshold(double p) {
    return static_cast<uint64_t>(p * 4294967296.0);
  }

 private:
  static constexpr uint64_t kStep = 0x9E3779B97F4A7C15;

  static uint64_t Next(uint64_t state) {
    uint64_t z = state + kStep;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }

  uint64_t key_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_METHODS_ENTRY_RANDOM_H_
