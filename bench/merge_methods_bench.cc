// stockpot-merge-methods-bench: how long composing a whole model takes, by
// method, shape, rank and number of skills.
//
//   stockpot-merge-methods-bench --benchmark_filter='svd/llama-1b'
//
// One iteration composes every adapted module of the model once. All layers of
// a model have the same shapes, so the factors of one layer stand for all; they
// are larger than the caches of a core. Threads: OMP_NUM_THREADS. Counters:
// bytes of the skills' factors, bytes of the result's, and its rank.

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>
#include <benchmark/benchmark.h>

#include "merge/merge_module.h"
#include "merge/methods/compress_then_merge.h"
#include "merge/methods/core_space.h"
#include "merge/methods/inspect.h"
#include "merge/methods/iso.h"
#include "merge/methods/knots.h"
#include "merge/methods/pico.h"
#include "merge/methods/svd.h"
#include "merge/methods/tsv.h"

namespace stockpot {
namespace {

struct ModelShape {
  std::string name;
  int64_t num_layers = 0;
  int64_t hidden = 0;
  int64_t kv = 0;
  int64_t intermediate = 0;

  // {out, in} of q, k, v, o, gate, up and down.
  std::vector<std::pair<int64_t, int64_t>> Modules() const {
    return {{hidden, hidden},       {kv, hidden},
            {kv, hidden},           {hidden, hidden},
            {intermediate, hidden}, {intermediate, hidden},
            {hidden, intermediate}};
  }
};

using Terms = std::vector<MergeTerm>;

struct Method {
  std::string name;
  std::function<LowRank(const Terms& terms, int64_t rank)> merge;
};

// Elects the sign of the sum and averages who agrees: the work of TIES without
// the trimming, so that what is timed is the space and not the rule.
at::Tensor Elect(absl::Span<const at::Tensor> terms,
                 absl::Span<const double> weights) {
  at::Tensor sum = at::zeros_like(terms[0]);
  for (size_t i = 0; i < terms.size(); ++i) {
    sum.add_(terms[i], weights[i]);
  }
  const at::Tensor is_positive = sum >= 0;
  at::Tensor agreeing = at::zeros_like(sum);
  at::Tensor count = at::zeros_like(sum);
  for (size_t i = 0; i < terms.size(); ++i) {
    const at::Tensor agrees = (terms[i] >= 0) == is_positive;
    agreeing.addcmul_(terms[i], agrees, weights[i]);
    count.add_(agrees);
  }
  return agreeing.div_(count.clamp_min_(1));
}

// An entry-wise rule as recipes run it. `rank` has no meaning among factors.
Method Entrywise(const std::string& name, MergeOptions options) {
  return {name, [options](const Terms& terms, int64_t rank) mutable {
            options.rank = HasRank(options) ? static_cast<uint32_t>(rank) : 0;
            return *MergeModule(terms, options, /*stream=*/0);
          }};
}

std::vector<Method> Methods() {
  const MergeOptions ties = {.method = MergeMethod::kTies, .density = 0.3f};
  MergeOptions in_factors = ties;
  in_factors.space = MergeSpace::kFactors;
  in_factors.density = 0.5f;  // As merge_methods_peer.py asks of PEFT.
  MergeOptions in_core = ties;
  in_core.space = MergeSpace::kCore;
  MergeOptions dare = ties;
  dare.method = MergeMethod::kDare;
  MergeOptions della = ties;
  della.method = MergeMethod::kDella;
  return {
      Entrywise("linear", {.method = MergeMethod::kLinear}),
      Entrywise("ties-factors", in_factors),
      Entrywise("ties-core", in_core),
      Entrywise("ties-delta", ties),
      Entrywise("dare-delta", dare),
      Entrywise("della-delta", della),
      {"cat", [](const Terms& t, int64_t) { return Concatenate(t); }},
      {"svd", MergeSvd},
      {"core-space",
       [](const Terms& t, int64_t r) { return MergeInCoreSpace(t, Elect, r); }},
      {"knots",
       [](const Terms& t, int64_t r) { return MergeKnots(t, Elect, r); }},
      {"tsv", MergeTsv},
      {"iso", MergeIso},
      {"compress-then-merge",
       [](const Terms& t, int64_t r) {
         return CompressThenMerge(t, r, Elect);
       }},
      {"pico-svd",
       [](const Terms& t, int64_t r) {
         return Rescaled(MergeSvd(CalibratedTerms(t), r), t);
       }},
      {"inspect",
       [](const Terms& t, int64_t) {
         for (const MergeTerm& term : t) {
           benchmark::DoNotOptimize(Inspect({term.a, term.b}, term.scale));
         }
         return LowRank{t[0].a, t[0].b};
       }},
  };
}

Terms RandomTerms(int64_t out, int64_t in, int64_t rank, int64_t num_skills) {
  Terms terms;
  for (int64_t i = 0; i < num_skills; ++i) {
    const double size = 1 / std::sqrt(static_cast<double>(in));
    terms.push_back({at::randn({rank, in}) * size,
                     at::randn({out, rank}) * size,
                     /*scale=*/2, /*weight=*/0.5});
  }
  return terms;
}

int64_t BytesOf(const at::Tensor& a, const at::Tensor& b) {
  return static_cast<int64_t>(a.nbytes() + b.nbytes());
}

void Compose(benchmark::State& state, const Method& method,
             const ModelShape& shape, int64_t rank, int64_t num_skills) {
  std::vector<Terms> modules;
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
  for (const auto& [out, in] : shape.Modules()) {
    modules.push_back(RandomTerms(out, in, rank, num_skills));
    for (const MergeTerm& term : modules.back()) {
      bytes_in += BytesOf(term.a, term.b);
    }
  }
  LowRank result;
  for (auto _ : state) {
    bytes_out = 0;
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) {
      for (const Terms& terms : modules) {
        result = method.merge(terms, rank);
        bytes_out += BytesOf(result.a, result.b);
        benchmark::DoNotOptimize(result);
      }
    }
  }
  state.counters["bytes_in"] = static_cast<double>(bytes_in * shape.num_layers);
  state.counters["bytes_out"] = static_cast<double>(bytes_out);
  state.counters["rank"] = static_cast<double>(result.a.size(0));
}

void RegisterAll() {
  const std::vector<ModelShape> shapes = {{"llama-1b", 16, 2048, 512, 8192},
                                          {"llama-7b", 32, 4096, 4096, 11008}};
  for (const ModelShape& shape : shapes) {
    for (const Method& method : Methods()) {
      for (const int64_t rank : {8, 16, 64}) {
        for (const int64_t num_skills : {2, 3, 8}) {
          const std::string name =
              absl::StrCat(method.name, "/", shape.name, "/rank:", rank,
                           "/skills:", num_skills);
          benchmark::RegisterBenchmark(name.c_str(),
                                       [=](benchmark::State& state) {
                                         Compose(state, method, shape, rank,
                                                 num_skills);
                                       })
              ->Unit(benchmark::kMillisecond)
              ->UseRealTime();
        }
      }
    }
  }
}

}  // namespace
}  // namespace stockpot

int main(int argc, char** argv) {
  stockpot::RegisterAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
