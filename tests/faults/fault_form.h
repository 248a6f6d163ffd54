// How much a fault test does: a short form in every build, a long one behind
// `make faults`.

#ifndef STOCKPOT_TESTS_FAULTS_FAULT_FORM_H_
#define STOCKPOT_TESTS_FAULTS_FAULT_FORM_H_

#include <cstdlib>

#include "absl/strings/numbers.h"

namespace stockpot::testing {

inline bool LongForm() {
  const char* const text = std::getenv("STOCKPOT_FAULTS_LONG");
  return text != nullptr && text[0] == '1';
}

// Cycles of a form, or what STOCKPOT_FAULTS_CYCLES says.
inline int Cycles(int short_form, int long_form) {
  int cycles = 0;
  const char* const text = std::getenv("STOCKPOT_FAULTS_CYCLES");
  if (text != nullptr && absl::SimpleAtoi(text, &cycles) && cycles > 0) {
    return cycles;
  }
  return LongForm() ? long_form : short_form;
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FAULTS_FAULT_FORM_H_
