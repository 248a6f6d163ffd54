// stockpot-dram-bandwidth: how fast all cores together read memory just now.
//
// Prints one number: GB/s, the median of several passes over 1 GiB. On shared
// machines it wanders by a factor of two within an hour, and decoding with it.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr size_t kWords = size_t{1} << 27;  // 1 GiB
constexpr int kPasses = 7;

uint64_t SumWords(const uint64_t* words, size_t num_words) {
  // Eight sums, so that additions do not wait for each other.
  uint64_t sums[8] = {};
  for (size_t i = 0; i < num_words; i += 8) {
    // Adjacent-line prefetch stops at 4 KiB pages; this reaches past them.
    __builtin_prefetch(words + i + 512);
    for (size_t j = 0; j < 8; ++j) {
      sums[j] += words[i + j];
    }
  }
  uint64_t sum = 0;
  for (const uint64_t part : sums) {
    sum += part;
  }
  return sum;
}

// Seconds that `num_threads` take to read the whole of `words` together.
double TimePass(const std::vector<uint64_t>& words, size_t num_threads,
                std::vector<uint64_t>& sums) {
  const size_t share = words.size() / num_threads / 8 * 8;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (size_t t = 0; t < num_threads; ++t) {
    threads.emplace_back(
        [&, t] { sums[t] += SumWords(words.data() + t * share, share); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace

int main() {
  const size_t num_threads = std::max(1U, std::thread::hardware_concurrency());
  const std::vector<uint64_t> words(kWords, 1);
  std::vector<uint64_t> sums(num_threads);
  std::vector<double> seconds;
  for (int pass = 0; pass < kPasses; ++pass) {
    seconds.push_back(TimePass(words, num_threads, sums));
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("%.1f\n", 8e-9 * kWords / seconds[kPasses / 2]);
  // The sums must be wanted, or the compiler drops the reading.
  return sums[0] == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
