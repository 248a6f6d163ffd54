// One module merged by every method: against PEFT's add_weighted_adapter()
// (tests/golden/make_entry_goldens.py), against dense arithmetic, and what must
// hold anyway.

#include "merge/merge_module.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "merge/methods/compress_then_merge.h"
#include "merge/methods/delta_space.h"
#include "merge/methods/entries.h"
#include "merge/methods/streamed_svd.h"
#include "model/torch_threads.h"
#include "tests/testing/merge_options.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::MergeOptionsFrom;
using ::stockpot::testing::ReadFloats;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TinyTensorBytes;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

const char kGoldens[] = STOCKPOT_SOURCE_DIR "/tests/golden/entries/peft";

at::Tensor Tiny(const std::string& name, std::vector<int64_t> shape,
                uint64_t seed) {
  const std::string bytes = TinyTensorBytes({name, shape}, seed, Dtype::kF32);
  at::Tensor tensor = at::zeros(shape, at::kFloat);
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

MergeTerm MakeTerm(const std::string& name, int64_t rank, int64_t in,
                   int64_t out, double scale = 1, double weight = 1) {
  return {.a = Tiny("lora_A." + name, {rank, in}, 1),
          .b = Tiny("lora_B." + name, {out, rank}, 1),
          .scale = scale,
          .weight = weight};
}

at::Tensor Product(const LowRank& update) { return update.b.matmul(update.a); }

at::Tensor Dense(const MergeTerm& term) {
  return term.b.matmul(term.a).mul(term.scale);
}

double Norm(const at::Tensor& x) {
  return x.to(at::kDouble).norm().item<double>();
}
double Distance(const at::Tensor& a, const at::Tensor& b) {
  return a.sub(b).abs().max().item<double>();
}

// The error of the best approximation of `rank` ranks.
double LeastError(const at::Tensor& dense, int64_t rank) {
  const at::Tensor s =
      std::get<1>(at::linalg_svd(dense.to(at::kDouble), false));
  return rank >= s.size(0) ? 0 : Norm(s.narrow(0, rank, s.size(0) - rank));
}

LowRank Merged(absl::Span<const MergeTerm> terms, const MergeOptions& options,
               uint64_t stream = 0) {
  auto merged = MergeModule(terms, options, stream);
  EXPECT_THAT(merged, IsOk()) << MethodText(options);
  return *std::move(merged);
}

TEST(MergeModuleTest, EqualsPeft) {
  const auto tensors = ReadFloats(std::string(kGoldens) + ".safetensors");
  const ordered_json document = ReadJson(std::string(kGoldens) + ".json");
  const int64_t rank = document.at("rank");
  const auto golden = [&](const ordered_json& name, int64_t rows,
                          int64_t cols) {
    std::vector<float> values = tensors.at(name);
    return at::from_blob(values.data(), {rows, cols}).clone();
  };
  int cases = 0;
  for (const ordered_json& c : document.at("cases")) {
    const MergeOptions options = MergeOptionsFrom(c.at("options"));
    for (const ordered_json& module : c.at("modules")) {
      const std::string target = module.at("name");
      const int64_t in = document.at("sizes").at(target).at(0);
      const int64_t out = document.at("sizes").at(target).at(1);
      std::vector<MergeTerm> terms;
      for (size_t i = 0; i < document.at("adapters").size(); ++i) {
        const ordered_json& adapter = document.at("adapters")[i];
        const auto targets =
            adapter.at("targets").get<std::vector<std::string>>();
        // PEFT skips an adapter that does not adapt the module.
        if (std::find(targets.begin(), targets.end(), target) ==
            targets.end()) {
          continue;
        }
        const std::string prefix = absl::StrCat(
            adapter.at("name").get<std::string>(), ".", target, ".lora_");
        const uint64_t seed = document.at("seed");
        terms.push_back({.a = Tiny(prefix + "A.weight", {rank, in}, seed),
                         .b = Tiny(prefix + "B.weight", {out, rank}, seed),
                         .scale = adapter.at("alpha").get<double>() /
                                  static_cast<double>(rank),
                         .weight = c.at("weights")[i].get<double>()});
      }
      const LowRank merged = Merged(terms, options, module.at("stream"));
      const std::string what =
          absl::StrCat(c.at("type").get<std::string>(), " ", target, " ",
                       c.at("weights").dump(), " ", MethodText(options));
      const at::Tensor product = golden(module.at("product"), out, in);
      if (module.contains("a")) {
        EXPECT_LE(Distance(merged.a, golden(module.at("a"), rank, in)), 1e-6)
            << what;
        EXPECT_LE(Distance(merged.b, golden(module.at("b"), out, rank)), 1e-6)
            << what;
      }
      EXPECT_LE(Norm(Product(merged).sub(product)), 2e-3 * Norm(product))
          << what;
      ++cases;
    }
  }
  EXPECT_GE(cases, 40);
}

// A dense update merged by hand, then cut by a full decomposition.
TEST(MergeModuleTest, DeltaSpaceIsTheBestCutOfTheDenseMerge) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 3, 90, 70, 2, 1),
                                        MakeTerm("y", 8, 90, 70, 0.5, 0.7),
                                        MakeTerm("z", 5, 90, 70, 1, -0.4)};
  for (const MergeMethod method :
       {MergeMethod::kMagnitudePrune, MergeMethod::kTies, MergeMethod::kDare,
        MergeMethod::kDella, MergeMethod::kBreadcrumbs}) {
    for (const MergeDialect dialect :
         {MergeDialect::kPeft, MergeDialect::kMergekit}) {
      MergeOptions options = {.method = method,
                              .dialect = dialect,
                              .elect_signs = true,
                              .density = 0.4f,
                              .seed = 6,
                              .rank = 12};
      if (method == MergeMethod::kMagnitudePrune) options.elect_signs = false;
      const at::Tensor dense =
          MergeEntries({Dense(terms[0]), Dense(terms[1]), Dense(terms[2])},
                       std::vector<double>{1, 0.7, -0.4}, options, 2 * 5);
      const LowRank merged = Merged(terms, options, 5);
      ASSERT_EQ(merged.a.size(0), 12);
      const double error = Norm(Product(merged).sub(dense));
      const double least = LeastError(dense, 12);
      EXPECT_LE(error, least * 1.002) << MethodText(options);
      EXPECT_GT(error, least * 0.999) << MethodText(options);
      // Made again for each pass instead of kept: the same.
      const LowRank streamed =
          MergeDeltas(terms, 12, options, 5, /*kept_entries=*/0);
      EXPECT_LE(Norm(Product(streamed).sub(Product(merged))), 1e-4 * error)
          << MethodText(options);
    }
  }
}

TEST(MergeModuleTest, StreamsInSeveralBlocks) {
  // 512 rows a block.
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 512, 1300),
                                        MakeTerm("y", 4, 512, 1300)};
  const MergeOptions options = {.method = MergeMethod::kTies, .density = 0.3f};
  const LowRank kept = Merged(terms, options);
  const LowRank streamed = MergeDeltas(terms, 4, options, 0, 0);
  EXPECT_LE(Norm(Product(streamed).sub(Product(kept))),
            1e-3 * Norm(Product(kept)));
}

TEST(MergeModuleTest, StopsBetweenBlocksOfRows) {
  // 512 rows a block: 12 blocks of two terms, looked at several times.
  const OneTorchThread alone;  // As recipes are merged.
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 512, 6100),
                                        MakeTerm("y", 4, 512, 6100)};
  const MergeOptions options = {.method = MergeMethod::kTies, .density = 0.3f};
  int whole = 0;
  EXPECT_THAT(MergeModule(terms, options, 0,
                          [&] {
                            ++whole;
                            return false;
                          }),
              IsOk());
  EXPECT_GT(whole, 40);
  for (const int blocks : {0, 1, 30, whole - 1}) {
    int asked = 0;
    EXPECT_THAT(
        MergeModule(terms, options, 0, [&] { return asked++ >= blocks; }),
        StatusIs(absl::StatusCode::kCancelled, _));
    EXPECT_EQ(asked, blocks + 1);
  }
}

TEST(StreamedSvdTest, IsExactWhereTheRankSuffices) {
  const MergeTerm term = MakeTerm("x", 5, 40, 30);
  const at::Tensor dense = Dense(term);
  const RowSource rows = {.rows = 30,
                          .cols = 40,
                          .block_rows = 7,
                          .get = [&](int64_t first, int64_t count) {
                            return dense.narrow(0, first, count);
                          }};
  for (const int64_t rank : {5, 9, 30, 500}) {
    const LowRank update = StreamedSvd(rows, rank);
    EXPECT_EQ(update.a.size(0), std::min<int64_t>(rank, 30));
    EXPECT_LE(Distance(Product(update), dense), 1e-5) << rank;
  }
  const LowRank update = StreamedSvd(rows, 5);
  const at::Tensor gram = update.a.matmul(update.a.t());
  EXPECT_LE(Distance(gram, at::eye(5)), 1e-5);
  EXPECT_TRUE(update.a.gather(1, update.a.abs().argmax(1, /*keepdim=*/true))
                  .gt(0)
                  .all()
                  .item<bool>());
}

TEST(StreamedSvdTest, ZeroIsZero) {
  const RowSource rows = {.rows = 6,
                          .cols = 9,
                          .block_rows = 4,
                          .get = [&](int64_t, int64_t count) {
                            return at::zeros({count, 9}, at::kFloat);
                          }};
  const LowRank update = StreamedSvd(rows, 3);
  EXPECT_EQ(Norm(Product(update)), 0);
  EXPECT_TRUE(update.a.isfinite().all().item<bool>());
}

// Every method with the options that it reads away from their defaults.
std::vector<MergeOptions> EveryMethod() {
  std::vector<MergeOptions> all;
  for (const MergeMethod method : AllMethods()) {
    MergeOptions options = {
        .method = method, .density = 0.6f, .epsilon = 0.2f, .gamma = 0.05f};
    all.push_back(options);
    if (CanonicalOptions(options).size() > 3 && !HasRank(options)) continue;
    for (const MergeSpace space : {MergeSpace::kFactors, MergeSpace::kCore}) {
      MergeOptions elsewhere = options;
      elsewhere.space = space;
      if (MethodText(elsewhere) != MethodText(options)) {
        all.push_back(elsewhere);
      }
    }
  }
  return all;
}

TEST(MergeModuleTest, ShapesAndRanksAreAsPromised) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 20, 12, 2, 1),
                                        MakeTerm("y", 4, 20, 12, 2, -0.5)};
  for (MergeOptions options : EveryMethod()) {
    for (const uint32_t rank : {0u, 3u, 6u, 12u, 512u}) {
      if (HasRank(options)) options.rank = rank;
      const LowRank merged = Merged(terms, options);
      const int64_t most = MergedRank(options, {4, 4}, 20, 12);
      EXPECT_LE(merged.a.size(0), most) << MethodText(options);
      EXPECT_EQ(merged.a.size(1), 20) << MethodText(options);
      EXPECT_EQ(merged.b.size(0), 12) << MethodText(options);
      EXPECT_EQ(merged.b.size(1), merged.a.size(0)) << MethodText(options);
      EXPECT_TRUE(Product(merged).isfinite().all().item<bool>())
          << MethodText(options);
    }
  }
}

TEST(MergeModuleTest, EqualCallsGiveEqualBits) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 33, 21, 2, 1),
                                        MakeTerm("y", 4, 33, 21, 2, -0.5)};
  for (const MergeOptions& options : EveryMethod()) {
    const LowRank once = Merged(terms, options, 3);
    const LowRank again = Merged(terms, options, 3);
    EXPECT_TRUE(once.a.equal(again.a)) << MethodText(options);
    EXPECT_TRUE(once.b.equal(again.b)) << MethodText(options);
  }
}

TEST(MergeModuleTest, SkillsOfZerosMergeToZero) {
  MergeTerm zero = MakeTerm("x", 4, 20, 12);
  zero.b = at::zeros_like(zero.b);
  for (MergeOptions options : EveryMethod()) {
    const LowRank merged = Merged({zero, zero}, options);
    EXPECT_LE(Norm(Product(merged)), 1e-6) << MethodText(options);
  }
}

TEST(MergeModuleTest, LambdaMultipliesTheUpdate) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 20, 12, 2, 1),
                                        MakeTerm("y", 4, 20, 12, 2, 0.5)};
  for (MergeOptions options : EveryMethod()) {
    const at::Tensor plain = Product(Merged(terms, options));
    const std::string text = MethodText(options);
    options.lambda = -0.5f;
    if (MethodText(options) == text) continue;  // Does not read it.
    EXPECT_LE(Distance(Product(Merged(terms, options)), plain.mul(-0.5)), 1e-6)
        << text;
  }
}

TEST(MergeModuleTest, PicoKeepsTheMeanStrength) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 20, 12, 2, 1),
                                        MakeTerm("y", 4, 20, 12, 1, 0.5)};
  const double mean = (Norm(Dense(terms[0])) + 0.5 * Norm(Dense(terms[1]))) / 2;
  for (MergeOptions options : EveryMethod()) {
    options.pico = true;
    if (!CheckMergeOptions(options).ok()) {
      EXPECT_THAT(MethodName(options.method),
                  ::testing::AnyOf(::testing::StrEq("linear"),
                                   ::testing::StrEq("lorahub")));
      continue;
    }
    EXPECT_NEAR(Norm(Product(Merged(terms, options))), mean, 1e-4 * mean)
        << MethodText(options);
  }
}

TEST(MergeModuleTest, BetaReachesTheSharedBases) {
  // One skill strong and one weak: bases of few ranks follow the strong one.
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 20, 12, 8, 1),
                                        MakeTerm("y", 4, 20, 12, 1, 0.5)};
  MergeOptions options = {.method = MergeMethod::kCompressThenMerge, .rank = 3};
  MergeOptions inner = options;
  inner.method = MergeMethod::kTies;
  for (const float beta : {0.0f, 0.3f, 1.0f}) {
    options.beta = beta;
    const LowRank want = CompressThenMerge(
        terms, 3, EntryRuleOf(inner, /*stream=*/0), {.beta = beta});
    EXPECT_EQ(Distance(Product(Merged(terms, options)), Product(want)), 0);
  }
  const at::Tensor one = Product(Merged(terms, options));
  options.beta = 0;
  EXPECT_GE(Distance(Product(Merged(terms, options)), one), 1e-2 * Norm(one));
}

TEST(MergeModuleTest, CatSplitsAndAddsUp) {
  const MergeTerm x = MakeTerm("x", 4, 20, 12, 2, 0.75);
  MergeTerm part = x;
  part.weight = 0.25;
  MergeTerm rest = x;
  rest.weight = 0.5;
  const MergeTerm y = MakeTerm("y", 2, 20, 12, 1, -1);
  const MergeOptions cat;
  EXPECT_LE(Distance(Product(Merged({x, y}, cat)),
                     Product(Merged({part, y, rest}, cat))),
            1e-6);
  EXPECT_LE(
      Distance(Product(Merged({x, y}, cat)), Dense(x).mul(0.75).sub(Dense(y))),
      1e-6);
}

TEST(MergeModuleTest, ASkillAloneAtWeightOneIsThatSkill) {
  const MergeTerm x = MakeTerm("x", 4, 20, 12, 1.5, 1);
  for (MergeOptions options : EveryMethod()) {
    if (options.method == MergeMethod::kIso)
      continue;  // Flattens its spectrum.
    options.density = 1;
    options.epsilon = 0;
    options.gamma = 0;
    EXPECT_LE(Distance(Product(Merged({x}, options)), Dense(x)), 1e-5)
        << MethodText(options);
  }
}

TEST(MergeModuleTest, UnequalRanksAreRefusedWhereFactorsAreMixed) {
  const std::vector<MergeTerm> terms = {MakeTerm("x", 4, 20, 12),
                                        MakeTerm("y", 3, 20, 12)};
  for (const MergeOptions& options : EveryMethod()) {
    const auto merged = MergeModule(terms, options, 0);
    if (NeedsEqualRanks(options)) {
      EXPECT_THAT(merged, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   AllOf(HasSubstr("4"), HasSubstr("3"),
                                         HasSubstr("ranks"))))
          << MethodText(options);
    } else {
      EXPECT_THAT(merged, IsOk()) << MethodText(options);
    }
  }
  std::vector<MergeTerm> scales = {MakeTerm("x", 4, 20, 12, 1),
                                   MakeTerm("y", 4, 20, 12, 2)};
  EXPECT_THAT(
      MergeModule(scales, {.method = MergeMethod::kLoraHub}, 0),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("scaling")));
}

}  // namespace
}  // namespace stockpot
