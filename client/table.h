// Table prints rows of text in aligned columns. Not thread-safe.

#ifndef STOCKPOT_CLIENT_TABLE_H_
#define STOCKPOT_CLIENT_TABLE_H_

#include <ostream>
#include <string>
#include <vector>

namespace stockpot {

class Table {
 public:
  // `header` names the columns. `right_aligned`, if given, says for each of
  // them whether its cells stand at its right edge, as numbers should.
  explicit Table(std::vector<std::string> header,
                 std::vector<bool> right_aligned = {});

  // Control characters of the cells, newlines too, are made visible: names and
  // labels come from strangers. REQUIRES: one cell for each column.
  void AddRow(std::vector<std::string> cells);

  // Two spaces between columns, none at the end of a line. Columns are counted
  // in characters.
  void Print(std::ostream& out) const;

 private:
  std::vector<std::vector<std::string>> rows_;  // The header first.
  std::vector<bool> right_aligned_;
};

// `cells` as Table prints them, on one line with two spaces between; no
// newline.
std::string JoinCells(const std::vector<std::string>& cells);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_TABLE_H_
