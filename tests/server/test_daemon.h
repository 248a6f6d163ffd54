// The real services, registry and engine behind a real port on loopback, with a
// fake model whose tokens are letters (tests/testing/engine_fakes.h).

#ifndef STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_
#define STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/admin.grpc.pb.h"
#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "engine/engine.h"
#include "merge/composer.h"
#include "merge/recipe_exporter.h"
#include "registry/rocks_store.h"
#include "server/admin_service.h"
#include "server/generation_service.h"
#include "server/pinned_recipes.h"
#include "server/registry_service.h"
#include "tests/testing/engine_fakes.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/tiny_adapter.h"

namespace stockpot::testing {

// Adapters without tensors: enough for recipes to be resolved and composed.
class FakeAdapterSource : public AdapterSource {
 public:
  explicit FakeAdapterSource(size_t num_modules) : num_modules_(num_modules) {}
  absl::StatusOr<int64_t> ResidentBytes(const Digest&) override { return 1; }
  absl::StatusOr<std::shared_ptr<const Adapter>> Load(
      const Digest& digest) override {
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = digest;
    adapter->scales.assign(num_modules_, 1.0f);
    adapter->ranks.assign(num_modules_, 4);
    adapter->bytes = 1;
    return adapter;
  }

 private:
  const size_t num_modules_;
};

// Merges nothing: returns when it is stopped.
class EndlessMerger : public AdapterMerger {
 public:
  absl::StatusOr<int64_t> MergedBytes(
      const Recipe&,
      absl::Span<const std::shared_ptr<const Adapter>>) override {
    return 1;
  }
  absl::StatusOr<std::shared_ptr<const Adapter>> Merge(
      const Recipe&, absl::Span<const std::shared_ptr<const Adapter>>,
      const StopCheck& stopped) override {
    started = true;
    while (!stopped()) absl::SleepFor(absl::Milliseconds(1));
    ++stops;
    return absl::CancelledError("stopped");
  }

  std::atomic<bool> started = false;
  std::atomic<int> stops = 0;
};

// Writes a composition's digest as the whole file, in pieces.
class FakeExporter : public RecipeExporter {
 public:
  absl::StatusOr<std::unique_ptr<AdapterExport>> Export(
      std::shared_ptr<const Composition> composition) override;
};

class TestDaemon {
 public:
  explicit TestDaemon(absl::Duration idle_timeout = absl::Seconds(60));
  ~TestDaemon();

  v1::GenerationService::Stub& generation() { return *generation_stub_; }
  v1::RegistryService::Stub& registry() { return *registry_stub_; }
  v1::AdminService::Stub& admin() { return *admin_stub_; }
  FakeRunner& runner() { return runner_; }
  RocksStore& store() { return *store_; }
  Metrics& metrics() { return metrics_; }
  const std::vector<BaseModule>& modules() const {
    return serving_.model.modules;
  }
  Engine& engine() { return *engine_; }
  EndlessMerger& merger() { return merger_; }

  // A request that continues the letters of `prompt`.
  static v1::GenerateRequest Letters(const std::string& prompt,
                                     uint32_t max_new_tokens);

  struct Answer {
    grpc::Status status;
    std::string text;  // Of sequence 0.
    std::vector<v1::Finish> finishes;
  };
  Answer Generate(const v1::GenerateRequest& request);

  // An adapter for the fake model's modules; `seed` decides its bytes.
  TinyAdapter MakeAdapter(uint64_t seed) const;
  static v1::AdapterMetadata MetadataOf(const std::string& name,
                                        const TinyAdapter& adapter);
  // Uploads in chunks of `chunk_bytes`.
  grpc::Status Register(const v1::AdapterMetadata& metadata,
                        const std::string& bytes, size_t chunk_bytes,
                        v1::RegisterAdapterResponse* response = nullptr);

 private:
  TempDir dir_;
  Metrics metrics_;
  FakeTokenizer tokenizer_;
  FakeRunner runner_;
  std::unique_ptr<RocksStore> store_;
  Serving serving_;
  std::unique_ptr<FakeAdapterSource> source_;
  EndlessMerger merger_;
  std::unique_ptr<Composer> composer_;
  FakeExporter exporter_;
  PinnedRecipes pinned_;
  std::unique_ptr<Engine> engine_;
  ServingSlot slot_{nullptr};
  WorkerPool pool_{2};
  IdleWatch idle_;
  GenerationService generation_{&slot_, &pool_, &metrics_};
  RegistryService registry_{&slot_, &pool_, &idle_, &metrics_};
  AdminService admin_{&slot_, &pool_, &metrics_, [] {}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::GenerationService::Stub> generation_stub_;
  std::unique_ptr<v1::RegistryService::Stub> registry_stub_;
  std::unique_ptr<v1::AdminService::Stub> admin_stub_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_
