// Makes the factors of one adapted module from the tensors of its file: the
// last step of loading an adapter.
//
// Functions that throw c10::Error say so; all are safe to call from many
// threads on different modules.

#ifndef STOCKPOT_MERGE_MODULE_LOADER_H_
#define STOCKPOT_MERGE_MODULE_LOADER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <ATen/core/Tensor.h>

#include "formats/adapter_config.h"
#include "formats/adapter_layout.h"
#include "formats/safetensors.h"
#include "merge/adapter_factors.h"
#include "merge/conversion.h"
#include "model/base_model.h"

namespace stockpot {

// Why an adapter of this config runs only alone and at weight 1, for a client
// to read; empty if it does not.
std::string AloneBecause(const AdapterConfig& config);

// The most memory that FinishModule()'s factors hold, for a model that runs in
// `dtype`.
int64_t MostBytes(const BaseModule& module, const AdapterConfig& config,
                  const AdaptedModule& adapted, at::ScalarType dtype);

// `t` contiguous in the dtype and on the device to run in. Throws c10::Error.
// Errors: InvalidArgument, as "holds a value ...", for what the dtype cannot
// hold: as infinity it would make NaN of other rows of a batch.
absl::StatusOr<at::Tensor> ToFactor(const at::Tensor& t,
                                    const LoadOptions& options);

// Fills `factors`, whose `a` and `b` are already there for a plain LoRA, from
// `parts`, which it takes. Returns what Adapter::scales gets. Throws
// c10::Error.
// Errors: InvalidArgument for values that do not fit, naming the module;
// Unimplemented for a conversion that keeps too little.
absl::StatusOr<float> FinishModule(const BaseModel& model,
                                   const AdapterConfig& config,
                                   const AdaptedModule& adapted,
                                   const SharedParts& shared, RawParts* parts,
                                   ModuleFactors* factors);

// The least share that any module's conversion keeps; a ConversionMeasure.
// `data` is the data section of the file. Never throws.
// Errors: those of FinishModule() and CheckBaseCopies(), and ResourceExhausted
// (memory).
absl::StatusOr<double> MeasureConversion(const BaseModel& model,
                                         const AdapterConfig& config,
                                         const SafetensorsHeader& header,
                                         const AdapterLayout& layout,
                                         absl::string_view data);

}  // namespace stockpot

#endif  // STOCKPOT_MERGE_MODULE_LOADER_H_
