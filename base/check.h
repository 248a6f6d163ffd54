// STOCKPOT_CHECK(condition) ends the process when one of our own invariants is
// broken. Never for anything that a client, a file or the system can cause:
// those are an absl::Status.

#ifndef STOCKPOT_BASE_CHECK_H_
#define STOCKPOT_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define STOCKPOT_CHECK(condition)                                     \
  do {                                                                \
    if (!(condition)) {                                               \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, \
                   __LINE__, #condition);                             \
      std::abort();                                                   \
    }                                                                 \
  } while (false)

#endif  // STOCKPOT_BASE_CHECK_H_
