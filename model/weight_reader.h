// A WeightReader takes a base model's tensors out of a checkpoint, one at a
// time, checking name and shape, and keeps account of what was read.

#ifndef STOCKPOT_MODEL_WEIGHT_READER_H_
#define STOCKPOT_MODEL_WEIGHT_READER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <ATen/core/Tensor.h>

#include "formats/checkpoint.h"
#include "model/base_model.h"

namespace stockpot {

class WeightReader {
 public:
  // `prefix` is put before every name, unless the checkpoint was saved without
  // it (as GPT-2's own is). `checkpoint` must outlive the reader and every
  // tensor that Mapped() returns.
  WeightReader(const Checkpoint* checkpoint, std::string prefix,
               const LoadOptions& options);

  // The tensor in the dtype and on the device to run in.
  // Errors: InvalidArgument if it is missing, has another shape, or is stored
  // in a dtype other than F32, F16 or BF16; the message names tensor and file.
  absl::StatusOr<at::Tensor> Read(absl::string_view name,
                                  at::IntArrayRef shape);

  // The same on the CPU in the dtype of the file, as a view of the file's
  // pages.
  absl::StatusOr<at::Tensor> Mapped(absl::string_view name,
                                    at::IntArrayRef shape) const;

  // `names` stacked along dimension 0: one weight where the checkpoint keeps
  // several that read the same input. shapes[i] belongs to names[i].
  absl::StatusOr<at::Tensor> ReadStacked(
      const std::vector<std::string>& names,
      const std::vector<std::vector<int64_t>>& shapes);

  bool Has(absl::string_view name) const;

 private:
  std::string FullName(absl::string_view name) const;

  const Checkpoint* const checkpoint_;
  const LoadOptions options_;
  std::string prefix_;
};

}  // namespace stockpot

#endif  // STOCKPOT_MODEL_WEIGHT_READER_H_
