// Whether what several clients saw of one adapter's name can be explained by
// the calls taking effect one at a time, each between its start and its end
// (Herlihy and Wing, Linearizability, 1990). Names are independent, so that a
// registry is linearizable if each of its names is.
//
// The search is Lowe's just-in-time linearization (Testing for linearizability,
// 2017): the events in order of time, and all states that could be.

#ifndef STOCKPOT_TESTS_FAULTS_LINEARIZABILITY_H_
#define STOCKPOT_TESTS_FAULTS_LINEARIZABILITY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stockpot::testing {

// One call on one name, and what it answered.
struct NameCall {
  enum class Kind {
    kRegister,    // `content` as the next version; answered `version`.
    kRegisterAt,  // `content` as `version`; `found`: accepted.
    kGetNewest,   // `found`; answered `version` and `content`.
    kGet,         // `found`; of `version`, answered `content`.
    kDelete,      // `found`; of `version`.
    kList,        // Answered `versions`, the first kMaxListed.
  };
  static constexpr size_t kMaxListed = 100;

  Kind kind = Kind::kGet;
  int64_t version = 0;
  int content = 0;
  bool found = true;
  std::map<int64_t, int> versions;  // Content by version.

  int client = 0;  // In [0, 64); makes one call at a time.
  uint64_t start = 0;
  uint64_t end = 0;  // Unlike all other times.

  std::string ToString() const;
};

// "" if `calls` are linearizable, starting without the name; else the call that
// no order explains.
std::string FindViolation(const std::vector<NameCall>& calls);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FAULTS_LINEARIZABILITY_H_
