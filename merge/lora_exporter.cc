#include "merge/lora_exporter.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/lora_config_writer.h"
#include "formats/safetensors_writer.h"
#include "merge/adapter_factors.h"
#include "merge/exported_rows.h"
#include "merge/merge_options.h"
#include "model/torch_status.h"
#include "model/torch_threads.h"

namespace stockpot {

namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

// Else a merged recipe could be exported and not be registered again.
static_assert(int64_t{MergeOptions::kMaxRank} <= AdapterConfig::kMaxRank);

// One skill's factors in one module, and its shares.
struct Part {
  const ModuleFactors* factors = nullptr;
  float expand = 0;
  float shrink = 0;
};

struct ExportedModule {
  size_t module = 0;
  std::vector<Part> parts;
  int64_t rank = 0;
};

// What the composition adds, module by module.
std::vector<ExportedModule> ModulesOf(const Composition& composition,
                                      size_t num_modules) {
  std::vector<ExportedModule> all(num_modules);
  for (const ComposedSkill& skill : composition.skills) {
    for (const ModuleFactors& factors : skill.adapter->factors->modules) {
      const float expand = (*skill.coefficients)[factors.module];
      if (expand != 0) {
        all[factors.module].parts.push_back(
            {&factors, expand,
             skill.shrink == nullptr ? 0 : (*skill.shrink)[factors.module]});
      }
    }
  }
  std::vector<ExportedModule> used;
  for (size_t m = 0; m < num_modules; ++m) {
    if (all[m].parts.empty()) {
      continue;
    }
    all[m].module = m;
    for (const Part& part : all[m].parts) {
      const int64_t rank = part.factors->a.size(0);
      all[m].rank = composition.mix->rank_one() ? rank : all[m].rank + rank;
    }
    used.push_back(std::move(all[m]));
  }
  return used;
}

at::Tensor Float(const at::Tensor& x) { return x.to(at::kCPU, at::kFloat); }

// lora_A [rank, in], contiguous float32.
at::Tensor MakeA(const ExportedModule& module, bool joint) {
  std::vector<at::Tensor> parts;
  for (const Part& part : module.parts) {
    parts.push_back(Float(part.factors->a) *
                    (joint ? part.shrink : part.expand));
    if (joint && parts.size() == 2) {
      parts = {parts[0] + parts[1]};
    }
  }
  return at::cat(parts, 0);
}

// lora_B [out, rank], contiguous float32.
at::Tensor MakeB(const ExportedModule& module, bool joint) {
  std::vector<at::Tensor> parts;
  for (const Part& part : module.parts) {
    at::Tensor b = Float(part.factors->b).t();
    parts.push_back(joint ? b * part.expand : b);
    if (joint && parts.size() == 2) {
      parts = {parts[0] + parts[1]};
    }
  }
  return at::cat(parts, 1).contiguous();
}

// A tensor of the file, and what makes it when it is its turn: contiguous
// float32.
struct ExportedTensor {
  TensorInfo info;
  std::function<at::Tensor()> make;
};

// A and B of a layer's factors. `module` must outlive the tensors.
void AddFactors(const ExportedModule& module, const BaseModule& of, bool joint,
                std::vector<ExportedTensor>* tensors) {
  const std::string prefix = absl::StrCat("base_model.model.", of.path, ".");
  const auto name = [&](const char* factor) {
    return of.is_embedding ? absl::StrCat(prefix, "lora_embedding_", factor)
                           : absl::StrCat(prefix, "lora_", factor, ".weight");
  };
  const std::vector<int64_t> a = {module.rank, of.in};
  const std::vector<int64_t> b = {of.out, module.rank};
  if (module.parts.empty()) {
    tensors->push_back(
        {{.name = name("A"), .shape = a}, [a] { return at::zeros(a); }});
    tensors->push_back(
        {{.name = name("B"), .shape = b}, [b] { return at::zeros(b); }});
    return;
  }
  tensors->push_back({{.name = name("A"), .shape = a},
                      [&module, joint] { return MakeA(module, joint); }});
  tensors->push_back({{.name = name("B"), .shape = b},
                      [&module, joint] { return MakeB(module, joint); }});
}

// [vocabulary, hidden], contiguous float32: rows of an end, and `factors`,
// which may be null, folded in.
at::Tensor MakeWhole(const ExportedRows& rows, const ExportedModule* factors,
                     const BaseModule& of) {
  if (factors == nullptr) {
    return rows.Make();
  }
  at::Tensor whole = rows.Make().clone();
  for (const Part& part : factors->parts) {
    const at::Tensor a = Float(part.factors->a);  // [rank, in]
    const at::Tensor b = Float(part.factors->b);  // [rank, out]
    whole.addmm_(of.is_embedding ? a.t() : b.t(), of.is_embedding ? b : a,
                 /*beta=*/1, /*alpha=*/part.expand);
  }
  return whole;
}

// An end's own rows; `factors`, null or of the same module, go into a whole
// weight. `rows` and `factors` must outlive the tensors.
void AddRows(const ExportedRows& rows, const ExportedModule* factors,
             const BaseModule& of, std::vector<ExportedTensor>* tensors) {
  const std::string prefix = absl::StrCat("base_model.model.", of.path, ".");
  if (rows.is_whole()) {
    tensors->push_back(
        {{.name = absl::StrCat(prefix, "weight"),
          .shape = {of.vocabulary(), of.hidden()}},
         [&rows, factors, &of] { return MakeWhole(rows, factors, of); }});
    return;
  }
  tensors->push_back(
      {{.name = absl::StrCat(prefix, "token_adapter.trainable_tokens_delta"),
        .shape = {static_cast<int64_t>(rows.tokens.size()), of.hidden()}},
       [&rows] { return rows.Make(); }});
}

// Whether the file holds the module's whole weight.
bool IsSaved(const std::vector<ExportedRows>& all, size_t module) {
  return std::any_of(all.begin(), all.end(), [&](const ExportedRows& rows) {
    return rows.is_whole() && rows.module == module;
  });
}

class LoraExport : public AdapterExport {
 public:
  // `modules` and `rows` are what it adapts and replaces, by module.
  LoraExport(std::shared_ptr<const Composition> composition,
             std::vector<ExportedModule> modules,
             std::vector<ExportedRows> rows, const BaseModel& model,
             const std::string& base_model)
      : composition_(std::move(composition)),
        modules_(std::move(modules)),
        rows_(std::move(rows)) {
    Describe(model, base_model);
  }

  const std::string& adapter_config() const override { return config_; }
  uint64_t size_bytes() const override { return header_.size() + data_bytes_; }
  const Digest& sha256() const override { return sha256_; }

  absl::StatusOr<bool> Next(std::string* chunk) override {
    return CatchTorch([&]() -> absl::StatusOr<bool> {
      const OneTorchThread alone;
      return NextHere(chunk);
    });
  }

  // Hashes the whole file and starts again.
  absl::Status Hash() {
    Sha256 hash;
    std::string chunk;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, Next(&chunk));
      if (!more) {
        break;
      }
      hash.Update(chunk);
    }
    sha256_ = hash.Finish();
    tensor_ = -1;
    offset_ = 0;
    return absl::OkStatus();
  }

 private:
  // Sets the config, the tensors and the header.
  void Describe(const BaseModel& model, const std::string& base_model) {
    const std::vector<BaseModule>& base = model.modules();
    std::vector<ExportedTensor> tensors;
    std::vector<LoraModuleRank> ranks;
    LoraRows named;
    for (const ExportedRows& rows : rows_) {
      const std::string& path = base[rows.module].path;
      if (rows.is_whole()) {
        named.saved.push_back(path);
      } else {
        named.tokens.emplace_back(path, rows.tokens);
      }
      AddRows(rows, FactorsOf(rows.module), base[rows.module], &tensors);
    }
    for (const ExportedModule& module : modules_) {
      if (!IsSaved(rows_, module.module)) {
        ranks.push_back({base[module.module].path, module.rank});
        AddFactors(module, base[module.module], composition_->mix->rank_one(),
                   &tensors);
      }
    }
    config_ =
        WriteLoraConfig(ranks, named, base_model,
                        model.config().architecture == Architecture::kGpt2);
    std::vector<TensorInfo> infos;
    for (ExportedTensor& tensor : tensors) {
      infos.push_back(std::move(tensor.info));
      makers_.push_back(std::move(tensor.make));
    }
    header_ = WriteSafetensorsHeader(absl::MakeSpan(infos));
    data_bytes_ = infos.back().end;
  }

  const ExportedModule* FactorsOf(size_t module) const {
    for (const ExportedModule& adapted : modules_) {
      if (adapted.module == module) {
        return &adapted;
      }
    }
    return nullptr;
  }

  bool NextHere(std::string* chunk) {
    if (tensor_ < 0) {
      chunk->assign(header_, offset_, kChunkBytes);
      Advance(chunk->size(), header_.size());
      return true;
    }
    if (tensor_ == static_cast<int64_t>(makers_.size())) {
      data_ = at::Tensor();
      return false;
    }
    if (offset_ == 0) {
      data_ = makers_[tensor_]();
    }
    const size_t size = data_.nbytes();
    chunk->assign(static_cast<const char*>(data_.const_data_ptr()) + offset_,
                  std::min(kChunkBytes, size - offset_));
    Advance(chunk->size(), size);
    return true;
  }

  void Advance(size_t bytes, size_t size) {
    offset_ += bytes;
    if (offset_ == size) {
      ++tensor_;
      offset_ = 0;
    }
  }

  const std::shared_ptr<const Composition> composition_;
  const std::vector<ExportedModule> modules_;
  const std::vector<ExportedRows> rows_;
  std::string config_;
  std::string header_;
  std::vector<std::function<at::Tensor()>> makers_;  // By tensor; see above.
  uint64_t data_bytes_ = 0;
  Digest sha256_;
  int64_t tensor_ = -1;  // Being sent; -1: the header.
  size_t offset_ = 0;    // Sent of it.
  at::Tensor data_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterExport>> LoraExporter::Export(
    std::shared_ptr<const Composition> composition) {
  const std::vector<BaseModule>& base = model_->modules();
  std::vector<ExportedModule> modules;
  std::vector<ExportedRows> rows;
  if (composition != nullptr) {
    for (const ComposedSkill& skill : composition->skills) {
      if (skill.adapter->has_row_terms) {
        return absl::FailedPreconditionError(absl::StrCat(
            "adapter sha256:", skill.adapter->digest.ToHex(),
            " has more than low-rank factors (DoRA, IA3 or lora_bias), which a "
            "plain LoRA adapter cannot hold; download the adapter itself"));
      }
    }
    modules = ModulesOf(*composition, base.size());
    std::vector<bool> has_factors(base.size());
    for (const ExportedModule& module : modules) {
      has_factors[module.module] = true;
    }
    ASSIGN_OR_RETURN(
        rows, CatchTorch([&]() -> absl::StatusOr<std::vector<ExportedRows>> {
          return RowsToExport(*composition, base, has_factors);
        }));
  }
  if (modules.empty() && rows.empty()) {
    return absl::FailedPreconditionError(
        "the recipe adds nothing to the base model: there is nothing to "
        "export");
  }
  if (std::all_of(modules.begin(), modules.end(),
                  [&](const ExportedModule& module) {
                    return IsSaved(rows, module.module);
                  })) {
    // PEFT opens no LoRA that adapts nothing: one rank of zeros.
    modules.insert(modules.begin(),
                   ExportedModule{.module = 0, .parts = {}, .rank = 1});
  }
  auto result =
      std::make_unique<LoraExport>(std::move(composition), std::move(modules),
                                   std::move(rows), *model_, base_model_);
  RETURN_IF_ERROR(result->Hash());
  return result;
}

}  // namespace stockpot
