#include "model/linear.h"

#include <optional>

#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

namespace stockpot {

namespace {

using ReorderOp = at::Tensor(const at::Tensor&, std::optional<int64_t>);
using LinearOp = at::Tensor(const at::Tensor&, const at::Tensor&,
                            const std::optional<at::Tensor>&, c10::string_view,
                            c10::List<std::optional<at::Scalar>>,
                            std::optional<c10::string_view>);

// Looked up once per process: a lookup by name costs more than a small product.
const c10::TypedOperatorHandle<ReorderOp>& Reorder() {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
          .typed<ReorderOp>();
  return op;
}
const c10::TypedOperatorHandle<LinearOp>& PackedLinear() {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                             .typed<LinearOp>();
  return op;
}

// Rows that the layout is chosen for; measured best for both decode and prefill
// of each dtype (bench/README.md).
int64_t RowsHint(at::ScalarType dtype) { return dtype == at::kFloat ? 512 : 8; }

// Rows to compute for `rows` wanted. oneDNN compiles code for every number of
// rows that it meets and keeps it: a few hundred kilobytes each, milliseconds
// to make. Prompts of all lengths would cost as much memory as the model;
// rounded up, they meet some thirty sizes.
int64_t RoundedRows(int64_t rows) {
  if (rows <= 16) {
    return rows;
  }
  const int64_t unit = rows <= 64 ? 16 : 32;
  return (rows + unit - 1) / unit * unit;
}

// x [rows, in] with zero rows added: [padded, in].
at::Tensor PadRows(const at::Tensor& x, int64_t padded) {
  at::Tensor wide = at::empty({padded, x.size(1)}, x.options());
  wide.narrow(0, 0, x.size(0)).copy_(x);
  wide.narrow(0, x.size(0), padded - x.size(0)).zero_();
  return wide;
}

}  // namespace

Linear::Linear(const at::Tensor& weight, const at::Tensor& bias)
    : weight_(weight.contiguous()),
      bias_(bias),
      packed_(weight.is_cpu()),
      weight_bytes_(static_cast<int64_t>(weight.nbytes())) {
  if (packed_) {
    weight_ = Reorder().call(weight_, RowsHint(weight.scalar_type()));
  }
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (!packed_) {
    return at::linear(x, weight_, bias_);
  }
  std::optional<at::Tensor> bias;
  if (bias_.defined()) {
    bias = bias_;
  }
  const int64_t rows = x.size(0);
  const int64_t padded = RoundedRows(rows);
  return PackedLinear()
      .call(padded == rows ? x : PadRows(x, padded), weight_, bias, "none",
            c10::List<std::optional<at::Scalar>>(), "")
      .narrow(0, 0, rows);
}

}  // namespace stockpot
