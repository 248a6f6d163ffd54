// libFuzzer's entry into one target, chosen when it is compiled.

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  stockpot::testing::STOCKPOT_FUZZ_TARGET(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
