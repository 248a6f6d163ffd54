// How the inspection of an adapter is shown to people. Pure functions.

#ifndef STOCKPOT_CLIENT_INSPECTION_TEXT_H_
#define STOCKPOT_CLIENT_INSPECTION_TEXT_H_

#include <ostream>

#include "proto/stockpot/v1/registry.pb.h"

namespace stockpot {

// A table, and in words what is wrong: modules that were never trained, ranks
// that do nothing. One row for all modules with the same last name, with means
// over those that are not zero; with `all_modules` one for each.
void PrintInspection(const v1::AdapterInspection& inspection, bool all_modules,
                     std::ostream& out);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_INSPECTION_TEXT_H_
