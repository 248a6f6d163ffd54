#include "client/table.h"

#include <sstream>

#include "gtest/gtest.h"

namespace stockpot {
namespace {

TEST(TableTest, ColumnsAreAlignedByCharacters) {
  Table table({"NAME", "SIZE"}, {false, true});
  table.AddRow({"\u00fcbung", "12"});
  table.AddRow({"a", "1234567"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "NAME      SIZE\n"
            "\u00fcbung       12\n"
            "a      1234567\n");
}

TEST(TableTest, LinesEndWithoutSpaces) {
  Table table({"A", "B"});
  table.AddRow({"long cell", ""});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "A          B\nlong cell\n");
}

TEST(TableTest, CellsCannotForgeRowsOrDriveTheTerminal) {
  Table table({"A"});
  table.AddRow({"x\ny\x1b[2J"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "A\nx y\uFFFD[2J\n");
  EXPECT_EQ(JoinCells({"a\n", "b\x07"}), "a   b\uFFFD");
}

}  // namespace
}  // namespace stockpot
