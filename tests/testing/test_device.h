// Where golden tests run: on the CPU, or where STOCKPOT_TEST_DEVICE says
// ("cuda:0"; the tests labelled gpu set it).

#ifndef STOCKPOT_TESTS_TESTING_TEST_DEVICE_H_
#define STOCKPOT_TESTS_TESTING_TEST_DEVICE_H_

#include <cstdlib>
#include <string>

#include <ATen/Context.h>
#include <c10/core/Device.h>

namespace stockpot::testing {

inline at::Device TestDevice() {
  const char* const name = std::getenv("STOCKPOT_TEST_DEVICE");
  return name == nullptr ? at::Device(at::kCPU) : at::Device(name);
}

// Why nothing can run on TestDevice(); "" if it can.
inline std::string MissingDevice() {
  return TestDevice().is_cuda() && !at::hasCUDA()
             ? "STOCKPOT_TEST_DEVICE asks for CUDA: this build has none, or "
               "the machine has no GPU"
             : "";
}

}  // namespace stockpot::testing

// First in a fixture's SetUp().
#define SKIP_WITHOUT_TEST_DEVICE()                                  \
  if (const std::string why = ::stockpot::testing::MissingDevice(); \
      !why.empty()) {                                               \
    GTEST_SKIP() << why;                                            \
  }                                                                 \
  static_assert(true)

#endif  // STOCKPOT_TESTS_TESTING_TEST_DEVICE_H_
