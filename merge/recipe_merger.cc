#include "merge/recipe_merger.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/ScalarType.h>

#include "base/status_macros.h"
#include "merge/adapter_factors.h"
#include "merge/merge_module.h"
#include "merge/mixing.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

using Adapters = absl::Span<const std::shared_ptr<const Adapter>>;

// Each module's terms, by module; of skills that have a part there.
std::vector<std::vector<MergeTerm>> FactorsByModule(const Recipe& recipe,
                                                    const Adapters& adapters,
                                                    size_t num_modules) {
  std::vector<std::vector<MergeTerm>> terms(num_modules);
  for (size_t i = 0; i < adapters.size(); ++i) {
    for (const ModuleFactors& factors : adapters[i]->factors->modules) {
      const float weight = recipe.skills()[i].weights[factors.module];
      if (weight != 0) {
        terms[factors.module].push_back(
            {.a = factors.a,
             .b = factors.b.t(),
             .scale = adapters[i]->scales[factors.module],
             .weight = weight});
      }
    }
  }
  return terms;
}

// As methods want them.
std::vector<MergeTerm> Widened(const std::vector<MergeTerm>& terms) {
  std::vector<MergeTerm> wide;
  for (const MergeTerm& term : terms) {
    wide.push_back({.a = term.a.to(at::kCPU, at::kFloat).contiguous(),
                    .b = term.b.to(at::kCPU, at::kFloat).contiguous(),
                    .scale = term.scale,
                    .weight = term.weight});
  }
  return wide;
}

// A copy in the dtype and on the device to run, of its own memory only: what
// methods return may be a part of something larger.
at::Tensor Placed(const at::Tensor& factor, const LoadOptions& options) {
  return at::empty(factor.sizes(),
                   at::device(options.device).dtype(options.dtype))
      .copy_(factor);
}

absl::Status InModule(const absl::Status& status, const std::string& path) {
  return absl::Status(
      status.code(), absl::StrCat("module \"", path, "\": ", status.message()));
}

// As infinity it would make NaN of every row of a batch: 0 * inf.
absl::Status CheckFinite(const ModuleFactors& factors) {
  if (at::isfinite(factors.a).all().item<bool>() &&
      at::isfinite(factors.b).all().item<bool>()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      "the merged factors are not finite; lower the weights or lambda");
}

}  // namespace

absl::StatusOr<int64_t> RecipeMerger::MergedBytes(const Recipe& recipe,
                                                  Adapters adapters) {
  const std::vector<BaseModule>& modules = model_->modules();
  const MergeOptions& options = recipe.options();
  if (NeedsEqualRanks(options)) {
    RETURN_IF_ERROR(CheckEqualRanks(recipe, adapters, modules));
  }
  int64_t values = 0;
  for (size_t m = 0; m < modules.size(); ++m) {
    std::vector<int64_t> ranks;
    for (size_t i = 0; i < adapters.size(); ++i) {
      if (recipe.skills()[i].weights[m] != 0 && adapters[i]->ranks[m] > 0) {
        ranks.push_back(adapters[i]->ranks[m]);
      }
    }
    if (ranks.empty()) {
      continue;
    }
    const int64_t rank =
        MergedRank(options, ranks, modules[m].in, modules[m].out);
    if (rank > MergeOptions::kMaxRank) {
      return absl::FailedPreconditionError(
          absl::StrCat("the merged rank in module ", ModuleText(modules, m),
                       " would be ", rank, "; at most ", MergeOptions::kMaxRank,
                       ". Use fewer skills, or recipe.svd with a rank"));
    }
    values += rank * (modules[m].in + modules[m].out);
  }
  return values *
         static_cast<int64_t>(c10::elementSize(model_->options().dtype));
}

absl::StatusOr<std::shared_ptr<const Adapter>> RecipeMerger::Merge(
    const Recipe& recipe, Adapters adapters, const StopCheck& stopped) {
  RETURN_IF_ERROR(MergedBytes(recipe, adapters).status());
  const std::vector<BaseModule>& modules = model_->modules();
  const LoadOptions& load = model_->options();
  return CatchTorch([&]() -> absl::StatusOr<std::shared_ptr<const Adapter>> {
    const OneTorchThread alone;
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = recipe.digest();
    adapter->scales.resize(modules.size());
    adapter->ranks.resize(modules.size());
    auto factors = std::make_shared<AdapterFactors>();
    const auto terms = FactorsByModule(recipe, adapters, modules.size());
    for (size_t m = 0; m < modules.size(); ++m) {
      if (terms[m].empty()) {
        continue;
      }
      const absl::StatusOr<LowRank> merged =
          MergeModule(Widened(terms[m]), recipe.options(), m, stopped);
      if (!merged.ok()) {
        return InModule(merged.status(), modules[m].path);
      }
      ModuleFactors made;
      made.module = static_cast<int64_t>(m);
      made.a = Placed(merged->a, load);
      made.b = Placed(merged->b.t(), load);
      if (const absl::Status finite = CheckFinite(made); !finite.ok()) {
        return InModule(finite, modules[m].path);
      }
      adapter->scales[m] = 1;
      adapter->ranks[m] = static_cast<int32_t>(made.a.size(0));
      adapter->bytes += static_cast<int64_t>(made.a.nbytes() + made.b.nbytes());
      factors->modules.push_back(std::move(made));
    }
    adapter->factors = std::move(factors);
    return adapter;
  });
}

}  // namespace stockpot
