// The real services, registry and engine behind a real port on loopback, with a
// fake model whose tokens are letters (tests/testing/engine_fakes.h).

#ifndef STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_
#define STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_

#include <atomic>
#include <functional>
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
#include "merge/adapter_inspector.h"
#include "merge/composer.h"
#include "merge/recipe_exporter.h"
#include "registry/rocks_store.h"
#include "server/admin_service.h"
#include "server/generation_service.h"
#include "server/inspection_queue.h"
#include "server/parked_uploads.h"
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
    {
      MutexLock lock(&mu_);
      ++num_loads_;
      changed_.SignalAll();
      while (held_) {
        changed_.Wait(&mu_);
      }
    }
    auto adapter = std::make_shared<Adapter>();
    adapter->digest = digest;
    adapter->scales.assign(num_modules_, 1.0f);
    adapter->ranks.assign(num_modules_, 4);
    adapter->bytes = 1;
    return adapter;
  }

  // Loads hang until Release().
  void Hold() {
    MutexLock lock(&mu_);
    held_ = true;
  }
  void Release() {
    MutexLock lock(&mu_);
    held_ = false;
    changed_.SignalAll();
  }
  // Waits until so many have begun.
  void AwaitLoads(int count) {
    MutexLock lock(&mu_);
    while (num_loads_ < count) {
      changed_.Wait(&mu_);
    }
  }

 private:
  const size_t num_modules_;
  Mutex mu_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  int num_loads_ ABSL_GUARDED_BY(mu_) = 0;
};

// Says of every adapter that it has one module, as long as nobody holds it up.
class FakeInspector : public AdapterInspector {
 public:
  absl::StatusOr<std::vector<ModuleStatistics>> Inspect(
      const Digest& digest, const std::function<bool()>& stop) override;

  // Inspections hang, but for their stop, until Release().
  void Hold();
  void Release();
  // Inspections fail with this from now on.
  void FailWith(const absl::Status& status);
  // Waits until so many have begun.
  void AwaitCalls(int count);
  int num_calls() const;

 private:
  mutable Mutex mu_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  int num_calls_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
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
  struct Options {
    absl::Duration idle_timeout = absl::Seconds(60);
    PaceRule pace = {};
    ParkedUploads::Options parked = {};
    NamespaceQuotas quotas = {};
    InspectionQueue::Options inspections = {};
    const SigningKeys* signing_keys = nullptr;
    bool require_signature = false;
  };
  explicit TestDaemon(absl::Duration idle_timeout = absl::Seconds(60));
  explicit TestDaemon(Options options);
  ~TestDaemon();

  v1::GenerationService::Stub& generation() { return *generation_stub_; }
  v1::RegistryService::Stub& registry() { return *registry_stub_; }
  v1::AdminService::Stub& admin() { return *admin_stub_; }
  FakeRunner& runner() { return runner_; }
  RocksStore& store() { return *store_; }
  // Of the port on loopback.
  const std::string& address() const { return address_; }
  const std::string& registry_path() const { return registry_path_; }
  FakeInspector& inspector() { return inspector_; }
  FakeAdapterSource& source() { return *source_; }
  ParkedUploads& parked() { return *parked_; }
  Metrics& metrics() { return metrics_; }
  const std::vector<BaseModule>& modules() const {
    return serving_.model.modules;
  }
  Engine& engine() { return *engine_; }
  int port() const { return port_; }
  EndlessMerger& merger() { return merger_; }

  // As the real daemon: calls have a second to end, then they are cancelled.
  void Shutdown();

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
  // Of rank 4 it has some kilobytes, of rank 256 more than one megabyte.
  TinyAdapter MakeAdapter(uint64_t seed, int64_t rank = 4) const;
  static v1::AdapterMetadata MetadataOf(const std::string& name,
                                        const TinyAdapter& adapter);
  // Uploads in chunks of `chunk_bytes`.
  grpc::Status Register(const v1::AdapterMetadata& metadata,
                        const std::string& bytes, size_t chunk_bytes,
                        v1::RegisterAdapterResponse* response = nullptr);

 private:
  TempDir dir_;
  const std::string registry_path_ = dir_.path() + "/registry";
  std::string address_;
  Metrics metrics_;
  FakeTokenizer tokenizer_;
  FakeRunner runner_;
  std::unique_ptr<RocksStore> store_;
  std::unique_ptr<ParkedUploads> parked_;
  Serving serving_;
  std::unique_ptr<FakeAdapterSource> source_;
  EndlessMerger merger_;
  std::unique_ptr<Composer> composer_;
  FakeExporter exporter_;
  PinnedRecipes pinned_;
  FakeInspector inspector_;
  std::unique_ptr<InspectionQueue> inspections_;
  std::unique_ptr<Engine> engine_;
  ServingSlot slot_{nullptr};
  WorkerPool pool_{2};
  IdleWatch idle_;
  GenerationService generation_{&slot_, &pool_, &metrics_};
  RegistryService registry_{&slot_, &pool_, &idle_, &metrics_};
  AdminService admin_{&slot_, &pool_, &idle_, &metrics_, [] {}};
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::unique_ptr<v1::GenerationService::Stub> generation_stub_;
  std::unique_ptr<v1::RegistryService::Stub> registry_stub_;
  std::unique_ptr<v1::AdminService::Stub> admin_stub_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_SERVER_TEST_DAEMON_H_
