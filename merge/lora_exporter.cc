#include "merge/lora_exporter.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/adapter_config.h"
#include "formats/lora_config_writer.h"
#include "formats/safetensors_writer.h"
#include "merge/adapter_factors.h"
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

absl::Status CheckReplacesNothing(const ComposedSkill& skill,
                                  const std::vector<BaseModule>& base) {
  for (const ReplacedTokens& replaced : skill.adapter->replaced) {
    if ((*skill.coefficients)[replaced.module] != 0) {
      return absl::FailedPreconditionError(absl::StrCat(
          "adapter sha256:", skill.adapter->digest.ToHex(),
          " replaces rows of module \"", base[replaced.module].path,
          "\", which an export of low-rank factors cannot hold; download the "
          "adapter itself, or leave the rows out with weight 0 in "
          "module_weights"));
    }
  }
  return absl::OkStatus();
}

class LoraExport : public AdapterExport {
 public:
  LoraExport(std::shared_ptr<const Composition> composition,
             std::vector<ExportedModule> modules, std::string config,
             std::vector<TensorInfo> tensors, std::string header)
      : composition_(std::move(composition)),
        modules_(std::move(modules)),
        config_(std::move(config)),
        tensors_(std::move(tensors)),
        header_(std::move(header)) {}

  const std::string& adapter_config() const override { return config_; }
  uint64_t size_bytes() const override {
    return header_.size() + tensors_.back().end;
  }
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
  bool NextHere(std::string* chunk) {
    if (tensor_ < 0) {
      chunk->assign(header_, offset_, kChunkBytes);
      Advance(chunk->size(), header_.size());
      return true;
    }
    if (tensor_ == static_cast<int64_t>(tensors_.size())) {
      data_ = at::Tensor();
      return false;
    }
    if (offset_ == 0) {
      const ExportedModule& module = modules_[tensor_ / 2];
      const bool joint = composition_->mix->rank_one();
      data_ = tensor_ % 2 == 0 ? MakeA(module, joint) : MakeB(module, joint);
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
  const std::string config_;
  const std::vector<TensorInfo> tensors_;  // A and B of each module in turn.
  const std::string header_;
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
  if (composition != nullptr) {
    for (const ComposedSkill& skill : composition->skills) {
      if (skill.adapter->has_row_terms) {
        return absl::FailedPreconditionError(absl::StrCat(
            "adapter sha256:", skill.adapter->digest.ToHex(),
            " has more than low-rank factors (DoRA, IA3 or lora_bias), which a "
            "plain LoRA adapter cannot hold; download the adapter itself"));
      }
      RETURN_IF_ERROR(CheckReplacesNothing(skill, base));
    }
    modules = ModulesOf(*composition, base.size());
  }
  if (modules.empty()) {
    return absl::FailedPreconditionError(
        "the recipe adds nothing to the base model: there is nothing to "
        "export");
  }
  std::vector<LoraModuleRank> ranks;
  std::vector<TensorInfo> tensors;
  for (const ExportedModule& module : modules) {
    const BaseModule& of = base[module.module];
    ranks.push_back({of.path, module.rank});
    for (const char* factor : {"A", "B"}) {
      TensorInfo info;
      info.name = of.is_embedding ? absl::StrCat("base_model.model.", of.path,
                                                 ".lora_embedding_", factor)
                                  : absl::StrCat("base_model.model.", of.path,
                                                 ".lora_", factor, ".weight");
      info.shape = *factor == 'A' ? std::vector<int64_t>{module.rank, of.in}
                                  : std::vector<int64_t>{of.out, module.rank};
      tensors.push_back(std::move(info));
    }
  }
  std::string header = WriteSafetensorsHeader(absl::MakeSpan(tensors));
  auto result = std::make_unique<LoraExport>(
      std::move(composition), std::move(modules),
      WriteLoraConfig(ranks, base_model_,
                      model_->config().architecture == Architecture::kGpt2),
      std::move(tensors), std::move(header));
  RETURN_IF_ERROR(result->Hash());
  return result;
}

}  // namespace stockpot
