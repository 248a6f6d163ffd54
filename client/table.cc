#include "client/table.h"

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

#include "base/check.h"
#include "client/text.h"

namespace stockpot {
namespace {

std::string CellText(absl::string_view cell) {
  return absl::StrReplaceAll(PrintableText(cell), {{"\n", " "}, {"\t", " "}});
}

}  // namespace

Table::Table(std::vector<std::string> header, std::vector<bool> right_aligned)
    : right_aligned_(std::move(right_aligned)) {
  right_aligned_.resize(header.size(), false);
  AddRow(std::move(header));
}

void Table::AddRow(std::vector<std::string> cells) {
  STOCKPOT_CHECK(cells.size() == right_aligned_.size());
  for (std::string& cell : cells) {
    cell = CellText(cell);
  }
  rows_.push_back(std::move(cells));
}

void Table::Print(std::ostream& out) const {
  std::vector<int> widths(right_aligned_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], CountCharacters(row[i]));
    }
  }
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - CountCharacters(row[i]), ' ');
      line += i == 0 ? "" : "  ";
      line += right_aligned_[i] ? padding + row[i] : row[i] + padding;
    }
    line.resize(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

std::string JoinCells(const std::vector<std::string>& cells) {
  return absl::StrJoin(cells, "  ",
                       [](std::string* out, const std::string& cell) {
                         out->append(CellText(cell));
                       });
}

}  // namespace stockpot
