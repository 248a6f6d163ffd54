#include "tests/server/test_daemon.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/check.h"
#include "base/sha256.h"
#include "formats/model_config.h"
#include "model/modules.h"

namespace stockpot::testing {

namespace {

class FakeExport : public AdapterExport {
 public:
  explicit FakeExport(std::string bytes) : bytes_(std::move(bytes)) {}

  const std::string& adapter_config() const override { return config_; }
  uint64_t size_bytes() const override { return bytes_.size(); }
  const Digest& sha256() const override { return sha256_; }
  absl::StatusOr<bool> Next(std::string* chunk) override {
    *chunk = bytes_.substr(sent_, 10);
    sent_ += chunk->size();
    return !chunk->empty();
  }

 private:
  const std::string config_ = "{}";
  const std::string bytes_;
  const Digest sha256_ = Sha256::Of(bytes_);
  size_t sent_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AdapterExport>> FakeExporter::Export(
    std::shared_ptr<const Composition> composition) {
  if (composition == nullptr) {
    return absl::FailedPreconditionError("nothing to export");
  }
  return std::make_unique<FakeExport>(composition->recipe.ToHex());
}

absl::StatusOr<std::vector<ModuleStatistics>> FakeInspector::Inspect(
    const Digest& /*digest*/, const std::function<bool()>& stop) {
  MutexLock lock(&mu_);
  ++num_calls_;
  changed_.SignalAll();
  while (held_) {
    // `stop` takes the queue's lock, which nobody holds while taking ours.
    if (stop()) {
      return absl::CancelledError("stopped");
    }
    changed_.WaitFor(&mu_, absl::Milliseconds(5));
  }
  if (!failure_.ok()) {
    return failure_;
  }
  ModuleStatistics module;
  module.module = "model.layers.0.self_attn.q_proj";
  module.update.rank = 4;
  module.update.frobenius_norm = 2.5;
  module.update.dead_ranks = 1;
  return std::vector<ModuleStatistics>{module};
}

void FakeInspector::Hold() {
  MutexLock lock(&mu_);
  held_ = true;
}

void FakeInspector::Release() {
  MutexLock lock(&mu_);
  held_ = false;
  changed_.SignalAll();
}

void FakeInspector::FailWith(const absl::Status& status) {
  MutexLock lock(&mu_);
  failure_ = status;
}

void FakeInspector::AwaitCalls(int count) {
  MutexLock lock(&mu_);
  while (num_calls_ < count) {
    changed_.Wait(&mu_);
  }
}

int FakeInspector::num_calls() const {
  MutexLock lock(&mu_);
  return num_calls_;
}

TestDaemon::TestDaemon(absl::Duration idle_timeout)
    : TestDaemon(Options{.idle_timeout = idle_timeout}) {}

TestDaemon::TestDaemon(Options setup) : idle_(setup.idle_timeout, setup.pace) {
  RocksStoreOptions options;
  options.quotas = setup.quotas;
  options.path = registry_path_;
  options.reserve_bytes = 0;
  options.undelete_window = absl::Hours(24);
  options.log = [](Severity, absl::string_view) {};
  store_ = *RocksStore::Open(std::move(options));
  parked_ = std::make_unique<ParkedUploads>(std::move(setup.parked));

  const auto config = ModelConfig::Parse(TinyLlama().config.dump(), "");
  STOCKPOT_CHECK(config.ok());
  serving_.model.name = "fake";
  serving_.model.digest = Sha256::Of("fake");
  serving_.model.vocab_size = FakeTokenizer::kVocab;
  serving_.model.context_tokens = 128;
  serving_.model.eos_ids = {FakeTokenizer::kEos};
  serving_.model.modules = ModulesOf(*config);
  source_ = std::make_unique<FakeAdapterSource>(serving_.model.modules.size());
  composer_ = std::make_unique<Composer>(source_.get(), Composer::Options{},
                                         &metrics_, &merger_);
  Engine::Options engine;
  engine.scheduler = {.max_running = 4,
                      .max_step_tokens = 16,
                      .num_kv_blocks = 128,
                      .kv_block_tokens = 4};
  engine.max_queued = 64;
  engine_ = std::make_unique<Engine>(engine, &runner_, &tokenizer_, &metrics_);
  serving_.tokenizer = &tokenizer_;
  serving_.store = store_.get();
  serving_.registry = store_.get();
  serving_.parked = parked_.get();
  serving_.signing_keys = setup.signing_keys;
  serving_.require_signature = setup.require_signature;
  serving_.recipes = &store_->recipes();
  serving_.composer = composer_.get();
  serving_.exporter = &exporter_;
  serving_.pinned = &pinned_;
  inspections_ = std::make_unique<InspectionQueue>(
      &inspector_, &store_->inspections(), setup.inspections);
  serving_.inspections = inspections_.get();
  serving_.engine = engine_.get();
  serving_.metrics = &metrics_;
  slot_.store(&serving_);

  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(&generation_);
  builder.RegisterService(&registry_);
  builder.RegisterService(&admin_);
  builder.SetMaxReceiveMessageSize(6 << 20);
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port_);
  // A client that may retry keeps some 500 bytes for each message of a call.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  const auto channel = grpc::CreateCustomChannel(
      address_, grpc::InsecureChannelCredentials(), arguments);
  generation_stub_ = v1::GenerationService::NewStub(channel);
  admin_stub_ = v1::AdminService::NewStub(channel);
  registry_stub_ = v1::RegistryService::NewStub(channel);
}

TestDaemon::~TestDaemon() {
  engine_->Drain(absl::InfinitePast());
  inspections_->Stop();
  Shutdown();
}

void TestDaemon::Shutdown() {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
}

v1::GenerateRequest TestDaemon::Letters(const std::string& prompt,
                                        uint32_t max_new_tokens) {
  v1::GenerateRequest request;
  request.mutable_prompt()->set_text(prompt);
  request.mutable_limits()->set_max_new_tokens(max_new_tokens);
  return request;
}

TestDaemon::Answer TestDaemon::Generate(const v1::GenerateRequest& request) {
  Answer answer;
  grpc::ClientContext context;
  auto stream = generation_stub_->Generate(&context, request);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    if (response.has_delta() && response.delta().index() == 0) {
      answer.text += response.delta().text();
    }
    if (response.has_finish()) {
      answer.finishes.push_back(response.finish());
    }
  }
  answer.status = stream->Finish();
  return answer;
}

TinyAdapter TestDaemon::MakeAdapter(uint64_t seed, int64_t rank) const {
  TinyAdapterSpec spec;
  spec.config = rank == 4 ? LoraConfig(4, 8, {"q_proj", "v_proj"})
                          : LoraConfig(rank, 8, "all-linear");
  spec.seed = seed;
  return MakeTinyAdapter(spec, serving_.model.modules);
}

v1::AdapterMetadata TestDaemon::MetadataOf(const std::string& name,
                                           const TinyAdapter& adapter) {
  v1::AdapterMetadata metadata;
  metadata.set_name(name);
  metadata.set_size_bytes(adapter.safetensors.size());
  metadata.set_sha256(Sha256::Of(adapter.safetensors).ToHex());
  metadata.set_adapter_config(adapter.config);
  return metadata;
}

grpc::Status TestDaemon::Register(const v1::AdapterMetadata& metadata,
                                  const std::string& bytes, size_t chunk_bytes,
                                  v1::RegisterAdapterResponse* response) {
  v1::RegisterAdapterResponse ignored;
  grpc::ClientContext context;
  auto stream = registry_stub_->RegisterAdapter(
      &context, response == nullptr ? &ignored : response);
  v1::RegisterAdapterRequest request;
  *request.mutable_metadata() = metadata;
  bool open = stream->Write(request);
  for (size_t at = 0; open && at < bytes.size(); at += chunk_bytes) {
    request.set_chunk(bytes.substr(at, chunk_bytes));
    open = stream->Write(request);
  }
  stream->WritesDone();
  return stream->Finish();
}

}  // namespace stockpot::testing
