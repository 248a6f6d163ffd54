#include "merge/row_terms.h"

#include <algorithm>
#include <vector>

#include <ATen/ops/full.h>

#include "merge/adapter_factors.h"

namespace stockpot {

namespace {

// Row `row` of `terms` [rows, n], which becomes `neutral` everywhere else.
at::Tensor Row(int64_t rows, int64_t row, int64_t n, float neutral,
               at::Tensor* terms) {
  if (!terms->defined()) {
    *terms = at::full({rows, n}, neutral, at::kFloat);
  }
  return terms->select(0, row);
}

void Add(const ModuleFactors& factors, float coefficient, int64_t rows,
         int64_t row, ModuleDelta* delta) {
  if (factors.bias.defined()) {
    Row(rows, row, factors.bias.size(0), 0, &delta->shift)
        .add_(factors.bias, coefficient);
  }
  if (factors.shift.defined()) {
    Row(rows, row, factors.shift.size(0), 0, &delta->shift).add_(factors.shift);
  }
  if (factors.gain.defined()) {
    Row(rows, row, factors.gain.size(0), 1, &delta->gain).mul_(factors.gain);
  }
  if (factors.input_gain.defined()) {
    Row(rows, row, factors.input_gain.size(0), 1, &delta->input_gain)
        .mul_(factors.input_gain);
  }
}

}  // namespace

void SetRowTerms(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    at::Device device, DeltaSet* deltas) {
  const auto rows = static_cast<int64_t>(compositions.size()) + 1;
  bool any = false;
  for (size_t i = 0; i < compositions.size(); ++i) {
    for (const ComposedSkill& skill : compositions[i]->skills) {
      if (!skill.adapter->has_row_terms) {
        continue;
      }
      any = true;
      for (const ModuleFactors& factors : skill.adapter->factors->modules) {
        const float coefficient = (*skill.coefficients)[factors.module];
        if (coefficient != 0) {
          Add(factors, coefficient, rows, static_cast<int64_t>(i) + 1,
              &(*deltas)[factors.module]);
        }
      }
    }
  }
  if (!any || device == at::kCPU) {
    return;
  }
  for (ModuleDelta& delta : *deltas) {
    for (at::Tensor* terms : {&delta.gain, &delta.shift, &delta.input_gain}) {
      if (terms->defined()) {
        *terms = terms->to(device);
      }
    }
  }
}

void SetReplacedRows(
    absl::Span<const std::shared_ptr<const Composition>> compositions,
    DeltaSet* deltas) {
  for (size_t i = 0; i < compositions.size(); ++i) {
    for (const ComposedSkill& skill : compositions[i]->skills) {
      for (const ModuleRows& own : skill.adapter->factors->replaced) {
        if ((*skill.coefficients)[own.module] == 0) {
          continue;
        }
        std::vector<RowsDelta>& all = (*deltas)[own.module].replaced;
        auto it = std::find_if(
            all.begin(), all.end(),
            [&](const RowsDelta& delta) { return delta.rows == own.rows; });
        if (it == all.end()) {
          all.push_back(
              {own.rows, std::vector<bool>(compositions.size() + 1, false)});
          it = all.end() - 1;
        }
        it->mixes[i + 1] = true;
      }
    }
  }
}

}  // namespace stockpot
