// Deterministic mutations of a corpus, for builds without libFuzzer.

#ifndef STOCKPOT_TESTS_FUZZ_MUTATION_H_
#define STOCKPOT_TESTS_FUZZ_MUTATION_H_

#include <random>
#include <string>
#include <vector>

namespace stockpot::testing {

// One of `corpus` with one to four changes: a bit, a byte put in or taken out,
// a run doubled or dropped, a number changed, a piece of another entry.
// REQUIRES: `corpus` is not empty.
std::string Mutate(const std::vector<std::string>& corpus,
                   std::mt19937_64& random);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FUZZ_MUTATION_H_
