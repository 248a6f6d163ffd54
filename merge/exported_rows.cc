#include "merge/exported_rows.h"

#include <map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include <ATen/ops/stack.h>

#include "base/status_macros.h"
#include "merge/adapter_factors.h"

namespace stockpot {
namespace {

absl::Status NoForm(const BaseModule& module, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the rows that the recipe replaces of module \"", module.path,
      "\" cannot be exported: ", why,
      ". Download the adapter itself, or leave the rows out with weight 0 in "
      "module_weights"));
}

// Of the modules that have any, by module.
std::map<size_t, ExportedRows> Gather(const Composition& composition) {
  std::map<size_t, std::map<int64_t, std::shared_ptr<const TokenRows>>> owners;
  std::map<size_t, ExportedRows> all;
  for (const ComposedSkill& skill : composition.skills) {
    for (const ModuleRows& replaced : skill.adapter->factors->replaced) {
      const auto module = static_cast<size_t>(replaced.module);
      if ((*skill.coefficients)[module] == 0) {
        continue;
      }
      all[module].module = module;
      if (replaced.rows->is_whole()) {
        all[module].sources = {{replaced.rows, 0}};
        continue;
      }
      const at::Tensor tokens = replaced.rows->Tokens();
      for (int64_t i = 0; i < tokens.numel(); ++i) {
        owners[module][tokens.const_data_ptr<int64_t>()[i]] = replaced.rows;
      }
    }
  }
  for (const auto& [module, by_token] : owners) {
    for (const auto& [token, rows] : by_token) {
      all[module].tokens.push_back(token);
      all[module].sources.emplace_back(rows, rows->Find(token));
    }
  }
  return all;
}

// PEFT gives a tied head the embedding's trained rows, unless it is told other
// tokens for it. Takes the head out where that is what is served.
absl::Status FollowTie(absl::Span<const BaseModule> base, size_t embedding,
                       size_t head, std::map<size_t, ExportedRows>* all) {
  const auto rows = all->find(embedding);
  if (rows == all->end() || rows->second.is_whole()) {
    return absl::OkStatus();
  }
  const auto own = all->find(head);
  if (own == all->end()) {
    return NoForm(base[embedding],
                  "PEFT replaces those of the head as well, which shares its "
                  "weight, and the recipe does not");
  }
  if (own->second.is_whole()) {
    return NoForm(base[head],
                  "PEFT defines no adapter that saves a tied head whole and "
                  "trains rows of the embedding");
  }
  if (own->second.tokens != rows->second.tokens) {
    return absl::OkStatus();
  }
  if (own->second.sources != rows->second.sources) {
    return NoForm(base[head],
                  "they are of the tokens whose rows of the embedding are "
                  "replaced by others, and PEFT has one row for both");
  }
  all->erase(own);
  return absl::OkStatus();
}

}  // namespace

at::Tensor ExportedRows::Make() const {
  const auto wide = [](const at::Tensor& x) {
    return x.to(at::kCPU, at::kFloat).contiguous();
  };
  if (is_whole()) {
    return wide(sources[0].first->rows());
  }
  std::vector<at::Tensor> rows;
  for (const auto& [owner, row] : sources) {
    rows.push_back(owner->rows().select(0, row));
  }
  return wide(at::stack(rows));
}

absl::StatusOr<std::vector<ExportedRows>> RowsToExport(
    const Composition& composition, absl::Span<const BaseModule> base,
    const std::vector<bool>& has_factors) {
  std::map<size_t, ExportedRows> all = Gather(composition);
  for (const auto& [module, rows] : all) {
    if (!rows.is_whole() && has_factors[module]) {
      return NoForm(base[module],
                    "PEFT defines no adapter with trained rows and factors of "
                    "one module");
    }
  }
  for (size_t e = 0; e < base.size(); ++e) {
    for (size_t h = 0; h < base.size(); ++h) {
      if (base[e].is_embedding && base[h].is_output_head && base[h].is_tied) {
        RETURN_IF_ERROR(FollowTie(base, e, h, &all));
      }
    }
  }
  std::vector<ExportedRows> exported;
  for (auto& [module, rows] : all) {
    exported.push_back(std::move(rows));
  }
  return exported;
}

}  // namespace stockpot
