// What a process said it did to a registry before it died, and whether the
// registry kept to it.

#ifndef STOCKPOT_TESTS_FAULTS_HISTORY_H_
#define STOCKPOT_TESTS_FAULTS_HISTORY_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"

namespace stockpot::testing {

// The bytes of the adapter called `name`: any reader can tell wrong ones. One
// in twelve adapters has several chunks.
std::string BytesOf(absl::string_view name);

// Lines of a child:
//   "?name"  an upload or delete of it begins; either outcome is right
//   "+name"  it is stored: acknowledged, or seen by an inspection
//   "-name"  it is gone: acknowledged, or seen by an inspection
//   "Fwhat"  a promise is broken
class History {
 public:
  enum class Expected { kStored, kGone, kEither };

  // Takes a line of these kinds; false for others.
  bool Take(const std::string& line);

  // Compares the store with the history. Says what a promise says it must not
  // find, and settles what was open. Reads the bytes of what was open, of all
  // if `thorough`, and counts chunks then.
  void Inspect(RocksStore& store, bool thorough, const LineWriter& out) const;

  const std::map<std::string, Expected>& adapters() const { return adapters_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  std::map<std::string, Expected> adapters_;
  std::vector<std::string> failures_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FAULTS_HISTORY_H_
