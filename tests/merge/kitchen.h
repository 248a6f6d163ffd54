// A Kitchen is a model, a registry with adapters, and all that lies between
// them: from an upload's bytes to the logits under a recipe.

#ifndef STOCKPOT_TESTS_MERGE_KITCHEN_H_
#define STOCKPOT_TESTS_MERGE_KITCHEN_H_

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "merge/adapter_validator.h"
#include "merge/composer.h"
#include "merge/module_loader.h"
#include "merge/recipe_merger.h"
#include "merge/registry_source.h"
#include "merge/skill_pool.h"
#include "model/base_model.h"
#include "registry/rocks_store.h"
#include "tests/testing/model_driver.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/test_device.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot::testing {

using Rows = std::vector<std::vector<float>>;

inline float MaxDifference(const Rows& a, const Rows& b) {
  float largest =
      a.size() == b.size() ? 0 : std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    largest = std::max(largest, MaxDifference(absl::MakeConstSpan(a[i]),
                                              absl::MakeConstSpan(b[i])));
  }
  return largest;
}

// On TestDevice(). Not thread-safe.
class Kitchen {
 public:
  explicit Kitchen(const TinyModelSpec& spec,
                   at::ScalarType dtype = at::kFloat) {
    WriteTinyModel(dir_.path() + "/model", spec);
    auto model = BaseModel::Load(dir_.path() + "/model",
                                 {.dtype = dtype, .device = TestDevice()});
    EXPECT_THAT(model, IsOk());
    model_ = *std::move(model);
    RocksStoreOptions options;
    options.path = dir_.path() + "/registry";
    auto store = RocksStore::Open(std::move(options));
    EXPECT_THAT(store, IsOk());
    store_ = *std::move(store);
    source_ = std::make_unique<RegistrySource>(store_.get(), model_.get());
    merger_ = std::make_unique<RecipeMerger>(model_.get());
    composer_ = std::make_unique<Composer>(
        source_.get(), Composer::Options{.modules = model_->modules()}, nullptr,
        merger_.get());
    const auto num_modules = static_cast<int64_t>(model_->modules().size());
    pool_ = std::make_unique<SkillPool>(num_modules, model_->options());
    stacked_pool_ = std::make_unique<SkillPool>(num_modules, model_->options(),
                                                /*stacked=*/true);
  }

  // What registering the adapter would find.
  absl::StatusOr<AdapterFacts> Validate(const TinyAdapter& adapter) const {
    auto validator = AdapterValidator::Create(
        adapter.config, adapter.safetensors.size(), model_->modules(),
        [this](const AdapterConfig& config, const SafetensorsHeader& header,
               const AdapterLayout& layout, absl::string_view data) {
          return MeasureConversion(*model_, config, header, layout, data);
        });
    if (!validator.ok()) return validator.status();
    if (absl::Status fed = (*validator)->Feed(adapter.safetensors); !fed.ok()) {
      return fed;
    }
    return (*validator)->Finish(model_->digest());
  }

  void Register(const std::string& name, const TinyAdapter& adapter) {
    const auto facts = Validate(adapter);
    ASSERT_THAT(facts, IsOk());
    UploadSpec spec;
    spec.name = name;
    spec.adapter_config = adapter.config;
    spec.size_bytes = adapter.safetensors.size();
    spec.sha256 = Sha256::Of(adapter.safetensors);
    auto upload = store_->BeginUpload(std::move(spec));
    ASSERT_THAT(upload, IsOk());
    ASSERT_THAT((*upload)->Append(adapter.safetensors), IsOk());
    const auto result = (*upload)->Commit(*facts);
    ASSERT_THAT(result, IsOk());
    digests_[name] = result->record.digest;
  }
  void Register(const std::string& name, const TinyAdapterSpec& spec) {
    Register(name, MakeTinyAdapter(spec, model_->modules()));
  }

  struct Skill {
    std::string adapter;
    float weight = 1;
    std::vector<ModuleWeight> module_weights;
  };
  Recipe MakeRecipe(const std::vector<Skill>& skills,
                    const MergeOptions& options = {}) const {
    std::vector<SkillSpec> specs;
    for (const Skill& skill : skills) {
      specs.push_back(
          {digests_.at(skill.adapter), skill.weight, skill.module_weights});
    }
    auto recipe =
        Recipe::Create(specs, options, model_->modules(), model_->digest());
    EXPECT_THAT(recipe, IsOk());
    return *recipe;
  }

  // Null for the base model.
  std::shared_ptr<const Composition> Compose(const Recipe& recipe) {
    auto result = composer_->Compose(recipe);
    EXPECT_THAT(result, IsOk());
    return result->composition;
  }

  // Logits at each position under `recipe`, in steps of `chunk` tokens.
  Rows Run(const Recipe& recipe, absl::Span<const int32_t> tokens,
           int64_t chunk = 1) {
    ModelDriver driver(model_.get());
    const auto composition = Compose(recipe);
    if (composition == nullptr) return *driver.Run(tokens, chunk);
    return *driver.Run(tokens, chunk, &pool_->Prepare({composition}), 1);
  }

  BaseModel& model() { return *model_; }
  RocksStore& store() { return *store_; }
  RegistrySource& source() { return *source_; }
  Composer& composer() { return *composer_; }
  SkillPool& pool() { return *pool_; }
  // As on a GPU.
  SkillPool& stacked_pool() { return *stacked_pool_; }
  Digest digest(const std::string& name) const { return digests_.at(name); }

 private:
  TempDir dir_;
  std::unique_ptr<BaseModel> model_;
  std::unique_ptr<RocksStore> store_;
  std::unique_ptr<RegistrySource> source_;
  std::unique_ptr<RecipeMerger> merger_;
  std::unique_ptr<Composer> composer_;
  std::unique_ptr<SkillPool> pool_;
  std::unique_ptr<SkillPool> stacked_pool_;
  std::map<std::string, Digest> digests_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_MERGE_KITCHEN_H_
