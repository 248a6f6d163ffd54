// The daemon's version; STOCKPOT_VERSION comes from the top CMakeLists.txt.

#ifndef STOCKPOT_SERVER_VERSION_H_
#define STOCKPOT_SERVER_VERSION_H_

namespace stockpot {

inline constexpr char kVersion[] = STOCKPOT_VERSION;

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_VERSION_H_
