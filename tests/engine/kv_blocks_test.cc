#include "engine/kv_blocks.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace stockpot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(KvBlocksTest, CountsBlocksOfTokens) {
  const KvBlocks blocks(4, 16);
  EXPECT_EQ(blocks.BlocksFor(1), 1);
  EXPECT_EQ(blocks.BlocksFor(16), 1);
  EXPECT_EQ(blocks.BlocksFor(17), 2);
}

TEST(KvBlocksTest, LowestNumbersGoFirstAlsoAfterBeingFreed) {
  KvBlocks blocks(4, 16);
  EXPECT_THAT(blocks.Take(3), ElementsAre(0, 1, 2));
  blocks.Free({1, 0});
  EXPECT_THAT(blocks.Take(1), ElementsAre(0));
  EXPECT_EQ(blocks.num_used(), 2);
}

TEST(KvBlocksTest, TakesAllOrNothing) {
  KvBlocks blocks(2, 16);
  EXPECT_THAT(blocks.Take(3), IsEmpty());
  EXPECT_EQ(blocks.num_free(), 2);
}

TEST(KvBlocksDeathTest, FreeingTwiceIsABrokenInvariant) {
  KvBlocks blocks(2, 16);
  const auto taken = blocks.Take(1);
  blocks.Free(taken);
  EXPECT_DEATH(blocks.Free(taken), "broken invariant");
}

}  // namespace
}  // namespace stockpot
