// Inspections of stored adapters: against numpy and PEFT
// (tests/golden/make_inspection_goldens.py), and what a large one costs.

#include "merge/registry_inspector.h"

#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/merge/kitchen.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using ::nlohmann::ordered_json;
using ::stockpot::testing::IsOk;
using ::stockpot::testing::Kitchen;
using ::stockpot::testing::LoraConfig;
using ::stockpot::testing::RawTensor;
using ::stockpot::testing::ReadJson;
using ::stockpot::testing::SafetensorsFile;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TempDir;
using ::stockpot::testing::TinyAdapter;
using ::stockpot::testing::TinyModelSpec;
using ::stockpot::testing::TinyTensor;
using ::stockpot::testing::TinyTensorBytes;
using ::testing::_;

const char kGoldens[] =
    STOCKPOT_SOURCE_DIR "/tests/golden/inspection/adapters.json";
const char kKinds[] = STOCKPOT_SOURCE_DIR "/tests/golden/model/kinds.json";

bool Never() { return false; }

// As make_inspection_goldens.py edits them.
void Apply(const ordered_json& edit, RawTensor* tensor) {
  const size_t row_bytes =
      tensor->bytes.size() / static_cast<size_t>(tensor->shape[0]);
  if (edit.contains("zero")) {
    tensor->bytes.assign(tensor->bytes.size(), '\0');
  } else if (edit.contains("zero_row")) {
    const size_t row = edit.at("zero_row");
    tensor->bytes.replace(row * row_bytes, row_bytes, row_bytes, '\0');
  } else {
    const size_t source = edit.at("copy_row")[0];
    const size_t target = edit.at("copy_row")[1];
    tensor->bytes.replace(target * row_bytes, row_bytes,
                          tensor->bytes.substr(source * row_bytes, row_bytes));
  }
}

TinyAdapter FilesOf(const ordered_json& adapter) {
  const Dtype dtype = *DtypeFromName(adapter.at("dtype").get<std::string>());
  std::vector<RawTensor> tensors;
  for (const ordered_json& t : adapter.at("tensors")) {
    const TinyTensor tensor{t.at(0), t.at(1).get<std::vector<int64_t>>()};
    tensors.push_back({tensor.name, dtype, tensor.shape,
                       TinyTensorBytes(tensor, adapter.at("seed"), dtype)});
    for (const ordered_json& edit :
         adapter.value("edits", ordered_json::array())) {
      if (edit.at("tensor") == tensor.name) {
        Apply(edit, &tensors.back());
      }
    }
  }
  return {adapter.at("config").dump(), SafetensorsFile(tensors)};
}

void ExpectNear(double found, const ordered_json& golden, const char* key,
                double tolerance) {
  const double expected = golden.at(key);
  EXPECT_NEAR(found, expected, tolerance * std::max(1.0, expected)) << key;
}

// `tolerance` is relative.
void ExpectEqual(const std::vector<ModuleStatistics>& found,
                 const ordered_json& golden, double tolerance) {
  ASSERT_EQ(found.size(), golden.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const ordered_json& expected = golden[i];
    const UpdateStatistics& update = found[i].update;
    EXPECT_EQ(found[i].module, expected.at("module"));
    SCOPED_TRACE(found[i].module);
    ExpectNear(update.frobenius_norm, expected, "frobenius_norm", tolerance);
    ExpectNear(update.spectral_norm, expected, "spectral_norm", tolerance);
    ExpectNear(update.stable_rank, expected, "stable_rank", tolerance);
    ExpectNear(update.effective_rank, expected, "effective_rank", tolerance);
    EXPECT_EQ(update.k90, expected.at("k90"));
    if (expected.contains("dead_ranks")) {
      EXPECT_EQ(update.rank, expected.at("rank"));
      EXPECT_EQ(update.dead_ranks, expected.at("dead_ranks"));
      EXPECT_EQ(update.b_is_zero, expected.at("zero").get<bool>());
    }
  }
}

std::vector<ModuleStatistics> InspectIn(Kitchen* kitchen,
                                        const std::string& name) {
  RegistryInspector inspector(&kitchen->store(), kitchen->model().modules());
  auto found = inspector.Inspect(kitchen->digest(name), Never);
  EXPECT_THAT(found, IsOk());
  return found.ok() ? *std::move(found) : std::vector<ModuleStatistics>();
}

TEST(RegistryInspectorTest, EqualsNumpyOnDenseUpdates) {
  const ordered_json goldens = ReadJson(kGoldens);
  TinyModelSpec spec;
  spec.config = goldens.at("config");
  Kitchen kitchen(spec);
  bool any_zero = false;
  bool any_dead = false;
  for (const ordered_json& golden : goldens.at("adapters")) {
    const std::string name = golden.at("name");
    SCOPED_TRACE(name);
    kitchen.Register(name, FilesOf(golden));
    ExpectEqual(InspectIn(&kitchen, name), golden.at("modules"), 1e-5);
    for (const ordered_json& module : golden.at("modules")) {
      any_zero = any_zero || module.at("zero").get<bool>();
      any_dead = any_dead || (module.at("dead_ranks") > 0 &&
                              !module.at("zero").get<bool>());
    }
  }
  EXPECT_TRUE(any_zero);
  EXPECT_TRUE(any_dead);
}

TEST(RegistryInspectorTest, OtherKindsEqualWhatPeftMerges) {
  const ordered_json goldens = ReadJson(kGoldens).at("kinds");
  const ordered_json kinds = ReadJson(kKinds);
  int num_inspected = 0;
  for (const ordered_json& base : kinds.at("bases")) {
    TinyModelSpec spec;
    spec.config = base.at("config");
    spec.seed = base.at("seed");
    // Statistics do not depend on the dtype that factors are served in.
    Kitchen kitchen(spec, at::kBFloat16);
    for (const ordered_json& adapter : base.at("adapters")) {
      const std::string name = adapter.at("name");
      SCOPED_TRACE(name);
      kitchen.Register(name, FilesOf(adapter));
      const ordered_json& golden =
          goldens.at(base.at("name").get<std::string>()).at(name);
      ExpectEqual(InspectIn(&kitchen, name), golden, 1e-3);
      EXPECT_EQ(golden.empty(), absl::StartsWith(name, "ia3")) << name;
      num_inspected += golden.empty() ? 0 : 1;
    }
  }
  EXPECT_EQ(num_inspected, 21);
}

TEST(RegistryInspectorTest, StopsBetweenModulesAndNamesWhatIsMissing) {
  Kitchen kitchen(testing::TinyLlama());
  kitchen.Register(
      "a", testing::TinyAdapterSpec{.config = LoraConfig(4, 8, "all-linear")});
  RegistryInspector inspector(&kitchen.store(), kitchen.model().modules());
  int num_asked = 0;
  EXPECT_THAT(
      inspector.Inspect(kitchen.digest("a"), [&] { return ++num_asked == 3; }),
      StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_EQ(num_asked, 3);
  EXPECT_THAT(inspector.Inspect(Sha256::Of("nothing"), Never),
              StatusIs(absl::StatusCode::kNotFound, _));
}

// The seven linear layers of `num_layers` layers as wide as Llama-3.2-1B's.
std::vector<BaseModule> WideModules(int num_layers) {
  std::vector<BaseModule> modules;
  for (int i = 0; i < num_layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    for (const auto& [name, in, out] :
         {std::tuple{"self_attn.q_proj", 2048, 2048},
          std::tuple{"self_attn.k_proj", 2048, 512},
          std::tuple{"self_attn.v_proj", 2048, 512},
          std::tuple{"self_attn.o_proj", 2048, 2048},
          std::tuple{"mlp.gate_proj", 2048, 8192},
          std::tuple{"mlp.up_proj", 2048, 8192},
          std::tuple{"mlp.down_proj", 8192, 2048}}) {
      modules.push_back({.path = layer + name, .in = in, .out = out});
    }
  }
  return modules;
}

int64_t StatusKib(const char* key) {
  std::ifstream file("/proc/self/status");
  std::string line;
  while (std::getline(file, line)) {
    int64_t kib = 0;
    if (absl::StartsWith(line, key) &&
        absl::SimpleAtoi(
            line.substr(line.find_first_of("0123456789"),
                        line.find(" kB") - line.find_first_of("0123456789")),
            &kib)) {
      return kib;
    }
  }
  return 0;
}

// VmHWM from now on.
void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

struct Cost {
  size_t num_modules = 0;
  uint64_t file_bytes = 0;
  absl::Duration time;
  int64_t peak_kib = 0;  // Beyond what was there before.
};

Cost CostOf(int64_t rank) {
  const std::vector<BaseModule> modules = WideModules(16);
  TempDir dir;
  RocksStoreOptions options;
  options.path = dir.path() + "/registry";
  const std::unique_ptr<RocksStore> store =
      *RocksStore::Open(std::move(options));
  Cost cost;
  Digest digest;
  {
    const TinyAdapter adapter = testing::MakeTinyAdapter(
        {.config = LoraConfig(rank, 32, "all-linear")}, modules);
    cost.file_bytes = adapter.safetensors.size();
    UploadSpec spec;
    spec.name = "wide";
    spec.adapter_config = adapter.config;
    spec.size_bytes = adapter.safetensors.size();
    spec.sha256 = Sha256::Of(adapter.safetensors);
    const std::unique_ptr<Upload> upload = *store->BeginUpload(std::move(spec));
    EXPECT_THAT(upload->Append(adapter.safetensors), IsOk());
    AdapterFacts facts;
    facts.min_rank = facts.max_rank = static_cast<uint32_t>(rank);
    digest = upload->Commit(facts)->record.digest;
  }
  RegistryInspector inspector(store.get(), modules);
  malloc_trim(0);
  ResetPeak();
  const int64_t before = StatusKib("VmRSS");
  const absl::Time start = absl::Now();
  const auto found = inspector.Inspect(digest, Never);
  cost.time = absl::Now() - start;
  cost.peak_kib = StatusKib("VmHWM") - before;
  EXPECT_THAT(found, IsOk());
  cost.num_modules = found.ok() ? found->size() : 0;
  return cost;
}

TEST(RegistryInspectorTest, AHundredMegabytesAreInspectedInLittleMemory) {
  for (const int64_t rank : {16, 36}) {
    const Cost cost = CostOf(rank);
    std::printf("rank %lld, %.0f MB, %zu modules: %.0f ms, %.1f MiB\n",
                static_cast<long long>(rank),
                static_cast<double>(cost.file_bytes) / 1e6, cost.num_modules,
                absl::ToDoubleMilliseconds(cost.time),
                static_cast<double>(cost.peak_kib) / 1024);
    EXPECT_EQ(cost.num_modules, 112u);
    // The whole of it would not fit.
    EXPECT_LE(cost.peak_kib, 64 << 10);
    if (rank == 36) {
      EXPECT_GE(cost.file_bytes, 100'000'000u);
    }
  }
}

}  // namespace
}  // namespace stockpot
