// The fuzz targets: each takes any bytes and aborts, saying why, if the code
// under test breaks a promise that holds for all inputs. The sanitizers find
// the rest.
//
// libFuzzer runs one of them for as long as one likes (`make fuzz`); ctest
// replays the committed corpus and its mutations (replay_test.cc).

#ifndef STOCKPOT_TESTS_FUZZ_TARGETS_H_
#define STOCKPOT_TESTS_FUZZ_TARGETS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace stockpot::testing {

// A whole safetensors head; or the shorthand of SafetensorsFromInput().
void FuzzSafetensors(absl::string_view input);
// An adapter_config.json.
void FuzzAdapterConfig(absl::string_view input);
// "<adapter_config> NUL <safetensors shorthand>".
void FuzzAdapterLayout(absl::string_view input);
// "<tokenizer.json> NUL <text>".
void FuzzTokenizer(absl::string_view input);
// "<config.json> NUL <generation_config.json>".
void FuzzModelConfig(absl::string_view input);
// A record as the registry stores it; the first byte says of which kind.
void FuzzRecord(absl::string_view input);
// A key of the registry.
void FuzzKey(absl::string_view input);
// "<adapter_config> NUL <sizes of pieces> NUL <safetensors shorthand>".
void FuzzUpload(absl::string_view input);
// "<in-toto statement> NUL <signature bundle>"; BundleFromInput() says how.
void FuzzSignature(absl::string_view input);
// "<pattern> NUL <path>".
void FuzzGlob(absl::string_view input);
// "<pattern> NUL <subject>".
void FuzzRegex(absl::string_view input);

struct FuzzTarget {
  const char* name;  // Of its folder in corpus/.
  void (*run)(absl::string_view input);
};

inline constexpr FuzzTarget kFuzzTargets[] = {
    {"safetensors", FuzzSafetensors},
    {"adapter_config", FuzzAdapterConfig},
    {"adapter_layout", FuzzAdapterLayout},
    {"tokenizer", FuzzTokenizer},
    {"model_config", FuzzModelConfig},
    {"record", FuzzRecord},
    {"key", FuzzKey},
    {"upload", FuzzUpload},
    {"signature", FuzzSignature},
    {"glob", FuzzGlob},
    {"regex", FuzzRegex},
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FUZZ_TARGETS_H_
