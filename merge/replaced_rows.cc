#include "merge/replaced_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>

#include "base/status_macros.h"
#include "formats/quoted.h"
#include "merge/stored_tensors.h"

namespace stockpot {

namespace {

// Of a wide model a few megabytes.
constexpr int64_t kRowsAtATime = 1024;

// What TokenRows keeps beside its tensor.
constexpr int64_t kBytesPerToken = 3 * sizeof(int64_t);

int64_t BytesOf(const ReplacedRows& rows) {
  return static_cast<int64_t>(rows.tokens.size()) * kBytesPerToken;
}

bool EqualsBase(const TensorInfo& info, absl::string_view data,
                const at::Tensor& weight) {
  const at::ScalarType type = TorchType(info.dtype);
  const int64_t row_bytes =
      info.shape[1] * static_cast<int64_t>(c10::elementSize(type));
  for (int64_t row = 0; row < info.shape[0]; row += kRowsAtATime) {
    const int64_t n = std::min(kRowsAtATime, info.shape[0] - row);
    const at::Tensor copy = at::empty({n, info.shape[1]}, type);
    std::memcpy(copy.data_ptr(), data.data() + info.begin + row * row_bytes,
                copy.nbytes());
    if (!at::equal(copy, weight.narrow(0, row, n).to(type))) {
      return false;
    }
  }
  return true;
}

}  // namespace

int64_t ReplacedBytes(const SafetensorsHeader& header,
                      const AdapterLayout& layout, at::ScalarType dtype) {
  absl::flat_hash_set<size_t> seen;
  int64_t bytes = 0;
  for (const ReplacedRows& rows : layout.replaced) {
    if (seen.insert(rows.tensor).second) {
      bytes += header.tensors[rows.tensor].num_elements() *
                   static_cast<int64_t>(c10::elementSize(dtype)) +
               BytesOf(rows);
    }
  }
  return bytes;
}

void SetReplaced(const AdapterLayout& layout,
                 const std::vector<at::Tensor>& rows, Adapter* adapter,
                 AdapterFactors* factors) {
  for (size_t i = 0; i < layout.replaced.size(); ++i) {
    const ReplacedRows& replaced = layout.replaced[i];
    std::shared_ptr<const TokenRows> shared;
    for (size_t j = 0; j < i; ++j) {
      if (layout.replaced[j].tensor == replaced.tensor) {
        shared = factors->replaced[j].rows;
      }
    }
    if (shared == nullptr) {
      shared = std::make_shared<const TokenRows>(replaced.tokens, rows[i]);
      adapter->bytes +=
          static_cast<int64_t>(rows[i].nbytes()) + BytesOf(replaced);
    }
    factors->replaced.push_back(
        {static_cast<int64_t>(replaced.module), std::move(shared)});
    ReplacedTokens tokens{replaced.module, replaced.tokens};
    std::sort(tokens.tokens.begin(), tokens.tokens.end());
    adapter->replaced.push_back(std::move(tokens));
    adapter->scales[replaced.module] = 1;
  }
}

absl::Status CheckBaseCopies(const BaseModel& model,
                             const SafetensorsHeader& header,
                             const AdapterLayout& layout,
                             absl::string_view data) {
  for (const BaseCopy& copy : layout.base_copies) {
    const TensorInfo& info = header.tensors[copy.tensor];
    const BaseModule& module = model.modules()[copy.module];
    ASSIGN_OR_RETURN(const ModuleWeights base, model.Weights(copy.module));
    if (!EqualsBase(info, data,
                    module.is_embedding ? base.weight.t() : base.weight)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "adapter tensor ", Quoted(info.name),
          ": PEFT saves it as a copy of the base model's ", Quoted(module.path),
          ", and it differs from the weight served. Was the adapter trained on "
          "another base model, or the weight itself trained? For the latter, "
          "name it in modules_to_save; else save with "
          "save_embedding_layers=False"));
    }
  }
  return absl::OkStatus();
}

}  // namespace stockpot
