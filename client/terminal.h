// Where a command reads and writes. Tests put string streams here.

#ifndef STOCKPOT_CLIENT_TERMINAL_H_
#define STOCKPOT_CLIENT_TERMINAL_H_

#include <istream>
#include <ostream>

namespace stockpot {

// Borrows its streams.
struct Terminal {
  std::istream& in;
  std::ostream& out;  // Results only, so that they can be piped.
  std::ostream& err;  // Progress, statistics, errors.
  bool in_is_terminal = false;
  bool out_is_terminal = false;
  bool err_is_terminal = false;
  int columns = 80;

  // Where to draw a progress bar; null for nowhere.
  std::ostream* progress() const { return err_is_terminal ? &err : nullptr; }
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_TERMINAL_H_
