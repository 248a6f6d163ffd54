// Independent opinions on what the parsers accept, written as plainly as
// possible and from the formats' own descriptions.

#ifndef STOCKPOT_TESTS_FUZZ_ORACLES_H_
#define STOCKPOT_TESTS_FUZZ_ORACLES_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "formats/adapter_layout.h"
#include "formats/safetensors.h"

namespace stockpot::testing {

// The start of a safetensors file, and how long the file says it is.
struct SafetensorsInput {
  std::string head;
  uint64_t file_bytes = 0;
};

// Inputs that begin with '{' are a shorthand that mutations do not destroy: the
// JSON up to the last '}', then the bytes of data in decimal. Others are 8
// bytes of file size, little-endian, and the head itself.
SafetensorsInput SafetensorsFromInput(absl::string_view input);

// What is wrong with `header` as the reading of `input`; "" if nothing:
// tensors out of bounds, overlapping, with holes, of other sizes than their
// shapes say, or other than what the JSON says.
std::string WrongInHeader(const SafetensorsHeader& header,
                          const SafetensorsInput& input);

// What is wrong with `layout` as a match of `header` with `base`; "" if
// nothing.
std::string WrongInLayout(const AdapterLayout& layout,
                          const SafetensorsHeader& header,
                          absl::Span<const BaseModule> base);

// Whether a pattern of base/glob.h matches, by trying everything.
bool GlobMatches(absl::string_view pattern, absl::string_view path);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FUZZ_ORACLES_H_
