#include "model/add_delta.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace stockpot {
namespace {

// Mixes of a module: shares[mix][skill], joint[mix].
struct Shares {
  std::vector<std::vector<SkillShare>> of;
  std::vector<bool> joint;
};

struct Case {
  int64_t rows = 1;
  int64_t in = 1;
  int64_t out = 1;
  std::vector<int64_t> ranks;
};

// Odd sizes leave remainders in every loop; 70 rows make several blocks.
const Case kCases[] = {
    {1, 5, 3, {1}},        {2, 16, 16, {4, 1}},       {7, 33, 65, {3, 8}},
    {8, 64, 300, {16, 2}}, {33, 48, 257, {5, 5, 16}}, {70, 100, 70, {9, 4}},
};

ModuleDelta MakeDelta(const Case& c, const Shares& shares,
                      at::ScalarType dtype) {
  ModuleDelta delta;
  for (const int64_t rank : c.ranks) {
    delta.skills.push_back({at::randn({rank, c.in}).to(dtype),
                            at::randn({rank, c.out}).to(dtype)});
  }
  for (const auto& mix : shares.of) {
    delta.shares.insert(delta.shares.end(), mix.begin(), mix.end());
  }
  delta.joint = shares.joint;
  return delta;
}

// Mix 0 adds nothing, mix 1 takes every skill, mix 2 only the last, with a
// minus.
Shares PlainShares(size_t skills) {
  Shares shares;
  shares.of.assign(3, std::vector<SkillShare>(skills));
  for (size_t s = 0; s < skills; ++s) {
    shares.of[1][s].expand = 0.5f + static_cast<float>(s);
  }
  shares.of[2].back().expand = -2;
  shares.joint.assign(3, false);
  return shares;
}

at::Tensor MixOfRows(int64_t rows, int32_t mixes) {
  at::Tensor mix = at::empty({rows}, at::kInt);
  for (int64_t i = 0; i < rows; ++i) {
    mix.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(i) % mixes;
  }
  return mix;
}

// The formulas of ModuleDelta in float64, row by row.
at::Tensor Expected(const at::Tensor& x, const ModuleDelta& delta,
                    const at::Tensor& mix, const at::Tensor& y) {
  at::Tensor out = y.to(at::kDouble).clone();
  const size_t skills = delta.skills.size();
  for (int64_t row = 0; row < x.size(0); ++row) {
    const int32_t m = mix.data_ptr<int32_t>()[row];
    const at::Tensor xr = x[row].to(at::kDouble);
    at::Tensor joint;
    for (size_t s = 0; s < skills && delta.joint[m]; ++s) {
      const SkillShare& share = delta.shares[m * skills + s];
      if (share.expand != 0) {
        const at::Tensor t =
            delta.skills[s].a.to(at::kDouble).mv(xr) * share.shrink;
        joint = joint.defined() ? joint + t : t;
      }
    }
    for (size_t s = 0; s < skills; ++s) {
      const SkillShare& share = delta.shares[m * skills + s];
      if (share.expand != 0) {
        const at::Tensor t =
            delta.joint[m] ? joint : delta.skills[s].a.to(at::kDouble).mv(xr);
        out[row] += delta.skills[s].b.to(at::kDouble).t().mv(t) * share.expand;
      }
    }
  }
  return out;
}

// Checks that `got` is `expected` up to float32 sums and one rounding to dtype.
void ExpectClose(const at::Tensor& got, const at::Tensor& expected) {
  const double step = got.scalar_type() == at::kFloat ? 2e-6 : 4.1e-3;
  const at::Tensor error = (got.to(at::kDouble) - expected).abs();
  const double scale = 1 + expected.abs().max().item<double>();
  EXPECT_LE(error.max().item<double>(), step * scale);
}

StackedDelta Stack(const Case& c, const ModuleDelta& delta) {
  std::vector<at::Tensor> a, b, lane, expand, shrink;
  const size_t skills = delta.skills.size();
  const auto mixes = static_cast<int64_t>(delta.joint.size());
  for (size_t s = 0; s < skills; ++s) {
    a.push_back(delta.skills[s].a);
    b.push_back(delta.skills[s].b);
    lane.push_back(at::arange(c.ranks[s], at::kLong));
    at::Tensor e = at::zeros({mixes, c.ranks[s]});
    at::Tensor h = at::zeros({mixes, c.ranks[s]});
    for (int64_t m = 0; m < mixes; ++m) {
      e[m].fill_(delta.shares[m * skills + s].expand);
      h[m].fill_(delta.shares[m * skills + s].shrink);
    }
    expand.push_back(e);
    shrink.push_back(h);
  }
  at::Tensor joint = at::zeros({mixes, 1}, at::kBool);
  for (int64_t m = 0; m < mixes; ++m) {
    joint[m].fill_(static_cast<bool>(delta.joint[m]));
  }
  return {at::cat(a, 0),      at::cat(b, 0),    at::cat(expand, 1),
          at::cat(shrink, 1), at::cat(lane, 0), joint};
}

class AddDeltaTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::set_num_threads(2); }
};

TEST_P(AddDeltaTest, AddsTheWeightedSumOfTheSkillsOfEachRow) {
  for (const Case& c : kCases) {
    const ModuleDelta delta =
        MakeDelta(c, PlainShares(c.ranks.size()), GetParam());
    const at::Tensor x = at::randn({c.rows, c.in}).to(GetParam());
    const at::Tensor y = at::randn({c.rows, c.out}).to(GetParam());
    const at::Tensor mix = MixOfRows(c.rows, 3);
    at::Tensor got = y.clone();
    AddDelta(x, delta, mix, got);
    ExpectClose(got, Expected(x, delta, mix, y));
    EXPECT_TRUE(got[0].equal(y[0])) << "the base's row changed";
  }
}

TEST_P(AddDeltaTest, JointMixesAddTheProductOfSums) {
  const Case c{9, 40, 70, {6, 6, 6}};
  Shares shares = PlainShares(3);
  shares.joint[1] = true;  // Beside plain mixes in one step.
  for (size_t s = 0; s < 3; ++s) {
    shares.of[1][s].shrink = 1.5f - static_cast<float>(s);
  }
  const ModuleDelta delta = MakeDelta(c, shares, GetParam());
  const at::Tensor x = at::randn({c.rows, c.in}).to(GetParam());
  const at::Tensor y = at::randn({c.rows, c.out}).to(GetParam());
  const at::Tensor mix = MixOfRows(c.rows, 3);
  at::Tensor got = y.clone();
  AddDelta(x, delta, mix, got);
  ExpectClose(got, Expected(x, delta, mix, y));
}

TEST_P(AddDeltaTest, WritesIntoColumnsOfAWiderOutput) {
  const Case c{3, 20, 24, {4}};
  const ModuleDelta delta = MakeDelta(c, PlainShares(1), GetParam());
  const at::Tensor x = at::randn({3, 20}).to(GetParam());
  const at::Tensor wide = at::randn({3, 60}).to(GetParam());
  const at::Tensor mix = MixOfRows(3, 3);
  at::Tensor got = wide.clone();
  AddDelta(x, delta, mix, got.narrow(1, 10, 24));
  EXPECT_TRUE(got.narrow(1, 0, 10).equal(wide.narrow(1, 0, 10)));
  EXPECT_TRUE(got.narrow(1, 34, 26).equal(wide.narrow(1, 34, 26)));
  ExpectClose(got.narrow(1, 10, 24),
              Expected(x, delta, mix, wide.narrow(1, 10, 24)));
}

TEST_P(AddDeltaTest, SkillThatOverflowsTouchesOnlyRowsThatUseIt) {
  const Case c{4, 16, 20, {2, 3}};
  Shares shares = PlainShares(2);
  shares.of[2][0].expand = 0;
  ModuleDelta delta = MakeDelta(c, shares, GetParam());
  delta.skills[0].a.fill_(3e38);
  const at::Tensor x = at::full({4, 16}, 3).to(GetParam());
  const at::Tensor y = at::zeros({4, 20}).to(GetParam());
  at::Tensor got = y.clone();
  const at::Tensor mix = MixOfRows(4, 3);
  AddDelta(x, delta, mix, got);
  EXPECT_FALSE(got[1].isfinite().all().item<bool>());
  for (const int64_t row : {0, 2, 3}) {
    EXPECT_TRUE(got[row].isfinite().all().item<bool>()) << row;
  }
  at::Tensor stacked = y.clone();
  AddStackedDelta(x, Stack(c, delta), mix.to(at::kLong), stacked);
  EXPECT_FALSE(stacked[1].isfinite().all().item<bool>());
  EXPECT_TRUE(stacked[3].isfinite().all().item<bool>());
}

// What a GPU runs, with the same libtorch operators on the CPU.
TEST_P(AddDeltaTest, StackedFormAddsTheSame) {
  const Case c{8, 40, 70, {6, 6, 6}};
  for (const bool joint : {false, true}) {
    Shares shares = PlainShares(3);
    shares.joint[1] = joint;
    for (size_t s = 0; s < 3; ++s) {
      shares.of[1][s].shrink = 1.5f - static_cast<float>(s);
    }
    const ModuleDelta delta = MakeDelta(c, shares, GetParam());
    StackedDelta stacked = Stack(c, delta);
    if (!joint) {
      stacked.shrink = at::Tensor();
    }
    const at::Tensor x = at::randn({c.rows, c.in}).to(GetParam());
    const at::Tensor y = at::randn({c.rows, c.out}).to(GetParam());
    const at::Tensor mix = MixOfRows(c.rows, 3);
    at::Tensor got = y.clone();
    AddStackedDelta(x, stacked, mix.to(at::kLong), got);
    const at::Tensor expected = Expected(x, delta, mix, y);
    const double step = GetParam() == at::kFloat ? 2e-6 : 2e-2;
    EXPECT_LE((got.to(at::kDouble) - expected).abs().max().item<double>(),
              step * (1 + expected.abs().max().item<double>()));
  }
}

TEST_P(AddDeltaTest, OneThreadAndTwoGiveTheSameBits) {
  for (const Case& c : kCases) {
    const ModuleDelta delta =
        MakeDelta(c, PlainShares(c.ranks.size()), GetParam());
    const at::Tensor x = at::randn({c.rows, c.in}).to(GetParam());
    const at::Tensor y = at::randn({c.rows, c.out}).to(GetParam());
    const at::Tensor mix = MixOfRows(c.rows, 3);
    at::Tensor two = y.clone();
    AddDelta(x, delta, mix, two);
    at::set_num_threads(1);
    at::Tensor one = y.clone();
    AddDelta(x, delta, mix, one);
    at::set_num_threads(2);
    EXPECT_TRUE(one.equal(two));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AddDeltaTest,
                         ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) {
                           return c10::toString(info.param);
                         });

}  // namespace
}  // namespace stockpot
