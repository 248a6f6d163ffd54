#include "model/base_model.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/checkpoint.h"
#include "formats/mapped_file.h"
#include "model/gpt2_model.h"
#include "model/llama_model.h"
#include "model/torch_status.h"

namespace stockpot {

namespace {

absl::StatusOr<Digest> DigestOf(const std::string& path,
                                const Checkpoint& checkpoint) {
  ASSIGN_OR_RETURN(const MappedFile config,
                   MappedFile::Open(path + "/config.json"));
  Sha256 hash;
  hash.UpdateFramed("stockpot base model 1");
  hash.UpdateFramed(config.bytes());
  for (const std::string& name : checkpoint.Names()) {
    ASSIGN_OR_RETURN(const TensorView view, checkpoint.Find(name));
    hash.UpdateFramed(name);
    hash.UpdateFramed(DtypeName(view.dtype));
    hash.UpdateU64(view.shape.size());
    for (const int64_t size : view.shape) {
      hash.UpdateU64(static_cast<uint64_t>(size));
    }
    hash.UpdateFramed(view.bytes);
  }
  checkpoint.DropPages();
  return hash.Finish();
}

}  // namespace

KvCache::Shape BaseModel::KvShape() const {
  return {.num_layers = config_.num_layers,
          .num_kv_heads = config_.num_kv_heads,
          .head_dim = config_.head_dim,
          .dtype = options_.dtype,
          .device = options_.device};
}

absl::StatusOr<std::unique_ptr<BaseModel>> BaseModel::Load(
    const std::string& path, const LoadOptions& options) {
  ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::Load(path));
  ASSIGN_OR_RETURN(Checkpoint opened, Checkpoint::Open(path));
  const auto checkpoint = std::make_shared<const Checkpoint>(std::move(opened));
  ASSIGN_OR_RETURN(const Digest digest, DigestOf(path, *checkpoint));
  absl::StatusOr<std::unique_ptr<BaseModel>> model = CatchTorch([&] {
    return config.architecture == Architecture::kLlama
               ? LlamaModel::Create(std::move(config), options, checkpoint)
               : Gpt2Model::Create(std::move(config), options, checkpoint);
  });
  if (model.ok()) {
    (*model)->digest_ = digest;
  }
  return model;
}

}  // namespace stockpot
