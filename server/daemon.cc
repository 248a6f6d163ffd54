#include "server/daemon.h"

#include <malloc.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>

#include "base/log.h"
#include "base/metrics.h"
#include "base/status_macros.h"
#include "engine/engine.h"
#include "engine/torch_runner.h"
#include "formats/tokenizer/tokenizer.h"
#include "merge/composer.h"
#include "merge/lora_exporter.h"
#include "merge/module_loader.h"
#include "merge/recipe_merger.h"
#include "merge/registry_inspector.h"
#include "merge/registry_source.h"
#include "model/base_model.h"
#include "model/torch_status.h"
#include "registry/rocks_store.h"
#include "server/admin_service.h"
#include "server/generation_service.h"
#include "server/health_board.h"
#include "server/idle_watch.h"
#include "server/inspection_queue.h"
#include "server/metrics_http.h"
#include "server/parked_uploads.h"
#include "server/registry_service.h"
#include "server/registry_watch.h"
#include "server/serving.h"
#include "server/signing_keys.h"
#include "server/worker_pool.h"

namespace stockpot {

namespace {

// A prompt's text may have 4 MiB; the rest of a request is small.
constexpr int kMaxMessageBytes = 6 << 20;
// What gRPC itself may hold for all connections together.
constexpr size_t kGrpcMemoryBytes = size_t{512} << 20;
constexpr int kMaxStreamsPerConnection = 256;
constexpr int kNumWorkers = 4;
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

absl::StatusOr<LoadOptions> ToLoadOptions(const DaemonOptions& options) {
  LoadOptions load;
  if (options.dtype == "float32") {
    load.dtype = at::kFloat;
  } else if (options.dtype == "bfloat16") {
    load.dtype = at::kBFloat16;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "--dtype is \"", options.dtype, "\"; expected float32 or bfloat16"));
  }
  return CatchTorch([&]() -> absl::StatusOr<LoadOptions> {
    load.device = at::Device(options.device);
    if (!load.device.is_cpu() && !load.device.is_cuda()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--device is \"", options.device, "\"; expected cpu or cuda[:N]"));
    }
#ifndef STOCKPOT_CUDA
    if (load.device.is_cuda()) {
      return absl::InvalidArgumentError(
          "--device is cuda, but this build has no CUDA; configure with "
          "-DSTOCKPOT_CUDA=ON");
    }
#else
    if (load.device.is_cuda() && !at::hasCUDA()) {
      return absl::FailedPreconditionError(
          "--device is cuda, but no GPU can be used here: nvidia-smi shows "
          "whether there is one and whether its driver is new enough for CUDA "
          "13");
    }
#endif
    return load;
  });
}

absl::Status CheckUploadOptions(const DaemonOptions& options) {
  if (options.upload_idle_timeout <= absl::ZeroDuration() ||
      options.upload_pace_window <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "--upload_idle_timeout and --upload_pace_window must be above 0, as in "
        "60s");
  }
  if (options.upload_min_bytes_per_second < 0 ||
      options.upload_resume_window < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        "--upload_min_bytes_per_second and --upload_resume_window must be 0 "
        "(off) or above");
  }
  return absl::OkStatus();
}

std::string BaseName(std::string path) {
  while (path.size() > 1 && path.back() == '/') {
    path.pop_back();
  }
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

// In the order of construction; destroyed in reverse.
struct Daemon::Parts {
  Metrics metrics;
  ServingSlot slot{nullptr};
  std::unique_ptr<MetricsHttp> http;

  std::unique_ptr<RocksStore> store;
  std::unique_ptr<ParkedUploads> parked;  // Before the store goes.
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<BaseModel> model;
  std::unique_ptr<RegistrySource> source;
  std::unique_ptr<RecipeMerger> merger;
  std::unique_ptr<Composer> composer;
  std::unique_ptr<LoraExporter> exporter;
  PinnedRecipes pinned;
  std::unique_ptr<RegistryInspector> inspector;
  std::unique_ptr<InspectionQueue> inspections;
  std::optional<SigningKeys> signing_keys;
  std::unique_ptr<TorchRunner> runner;
  std::unique_ptr<Engine> engine;
  Serving serving;

  std::unique_ptr<WorkerPool> pool;
  std::unique_ptr<IdleWatch> idle;
  std::unique_ptr<GenerationService> generation;
  std::unique_ptr<RegistryService> registry;
  std::unique_ptr<AdminService> admin;
  LearningService learning;
  std::unique_ptr<grpc::Server> server;
  std::unique_ptr<HealthBoard> health;
  std::unique_ptr<RegistryWatch> watch;
  int port = 0;

  int64_t evictions_seen = 0;
};

Daemon::Daemon(DaemonOptions options)
    : options_(std::move(options)), parts_(std::make_unique<Parts>()) {}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(DaemonOptions options) {
  RETURN_IF_ERROR(ToLoadOptions(options).status());
  RETURN_IF_ERROR(NamespaceQuotas::Parse(options.namespace_quotas).status());
  RETURN_IF_ERROR(CheckUploadOptions(options));
  ASSIGN_OR_RETURN(SigningKeys keys, SigningKeys::Load(options.signing_keys));
  if (options.require_signature && keys.empty()) {
    return absl::InvalidArgumentError(
        "--require_signature needs --signing_keys: without a key no upload "
        "could be accepted");
  }
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(options)));
  Parts& parts = *daemon->parts_;
  Daemon* self = daemon.get();
  parts.signing_keys = std::move(keys);
  parts.metrics.SetRefresh([self] { self->RefreshGauges(); });
  ASSIGN_OR_RETURN(parts.http,
                   MetricsHttp::Start(self->options_.metrics_listen, [self] {
                     return self->parts_->metrics.Scrape();
                   }));
  parts.pool = std::make_unique<WorkerPool>(kNumWorkers);
  parts.idle = std::make_unique<IdleWatch>(
      self->options_.upload_idle_timeout,
      PaceRule{.min_bytes_per_second = static_cast<uint64_t>(
                   self->options_.upload_min_bytes_per_second),
               .window = self->options_.upload_pace_window});
  parts.generation = std::make_unique<GenerationService>(
      &parts.slot, parts.pool.get(), &parts.metrics);
  parts.registry = std::make_unique<RegistryService>(
      &parts.slot, parts.pool.get(), parts.idle.get(), &parts.metrics);
  parts.admin = std::make_unique<AdminService>(
      &parts.slot, parts.pool.get(), parts.idle.get(), &parts.metrics,
      [self] { self->StopAccepting(); });

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(self->options_.listen,
                           grpc::InsecureServerCredentials(), &parts.port);
  builder.RegisterService(parts.generation.get());
  builder.RegisterService(parts.registry.get());
  builder.RegisterService(parts.admin.get());
  builder.RegisterService(&parts.learning);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetResourceQuota(
      grpc::ResourceQuota("stockpot").Resize(kGrpcMemoryBytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             kMaxStreamsPerConnection);
  // A peer that vanished without a word is noticed within a minute.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  parts.server = builder.BuildAndStart();
  if (parts.server == nullptr || parts.port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", self->options_.listen));
  }
  parts.health = std::make_unique<HealthBoard>(
      parts.server->GetHealthCheckService(), &parts.metrics);
  return daemon;
}

Daemon::~Daemon() {
  // A scrape must not meet parts that go.
  parts_->http.reset();
  parts_->watch.reset();
  if (parts_->health != nullptr) {
    parts_->health->SetServing(false);
    if (parts_->engine != nullptr) {
      parts_->engine->Drain(absl::InfinitePast());
    }
    if (parts_->inspections != nullptr) {
      parts_->inspections->Stop();
    }
    parts_->server->Shutdown(absl::ToChronoTime(absl::Now() + kShutdownGrace));
  }
}

int Daemon::port() const { return parts_->port; }
int Daemon::metrics_port() const { return parts_->http->port(); }

absl::Status Daemon::LoadModel() {
  Parts& p = *parts_;
  ASSIGN_OR_RETURN(const LoadOptions load, ToLoadOptions(options_));
  if (options_.num_threads > 0) {
    at::set_num_threads(options_.num_threads);
  }
  ASSIGN_OR_RETURN(p.tokenizer, Tokenizer::Load(options_.model));
  ASSIGN_OR_RETURN(p.model, BaseModel::Load(options_.model, load));
  const ModelConfig& config = p.model->config();
  if (p.tokenizer->vocab_size() > config.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the tokenizer has ", p.tokenizer->vocab_size(),
                     " tokens, the model only ", config.vocab_size,
                     ": they do not belong together"));
  }
  ModelFacts& facts = p.serving.model;
  facts.name = BaseName(options_.model);
  facts.architecture = config.architecture == Architecture::kLlama
                           ? "LlamaForCausalLM"
                           : "GPT2LMHeadModel";
  facts.dtype = options_.dtype;
  facts.device = options_.device;
  facts.digest = p.model->digest();
  facts.vocab_size = static_cast<int32_t>(config.vocab_size);
  facts.context_tokens = static_cast<int32_t>(config.max_positions);
  if (options_.max_context_tokens > 0) {
    facts.context_tokens =
        std::min(facts.context_tokens, options_.max_context_tokens);
  }
  facts.eos_ids.assign(config.eos_token_ids.begin(),
                       config.eos_token_ids.end());
  facts.modules = p.model->modules();
  return absl::OkStatus();
}

absl::Status Daemon::StartEngine() {
  Parts& p = *parts_;
  const int64_t block_bytes = p.model->KvShape().block_bytes();
  // More blocks than all running sequences could fill would never be used.
  const int64_t useful =
      int64_t{options_.max_running} *
      ((p.serving.model.context_tokens + kKvBlockTokens - 1) / kKvBlockTokens);
  const int64_t num_blocks =
      std::min(options_.kv_cache_bytes / block_bytes, useful);
  if (num_blocks < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv_cache_bytes is ", options_.kv_cache_bytes,
                     "; one block of this model takes ", block_bytes));
  }
  ASSIGN_OR_RETURN(KvCache kv, KvCache::Create(p.model->KvShape(), num_blocks));
  p.source = std::make_unique<RegistrySource>(p.store.get(), p.model.get());
  p.merger = std::make_unique<RecipeMerger>(p.model.get());
  p.serving.measure = [model = p.model.get()](const AdapterConfig& config,
                                              const SafetensorsHeader& header,
                                              const AdapterLayout& layout,
                                              absl::string_view data) {
    return MeasureConversion(*model, config, header, layout, data);
  };
  p.composer = std::make_unique<Composer>(
      p.source.get(),
      Composer::Options{
          .adapter_cache_bytes = options_.adapter_cache_bytes,
          .composition_cache_bytes = options_.composition_cache_bytes,
          .modules = p.model->modules()},
      &p.metrics, p.merger.get());
  p.inspector =
      std::make_unique<RegistryInspector>(p.store.get(), p.model->modules());
  p.inspections = std::make_unique<InspectionQueue>(
      p.inspector.get(), &p.store->inspections(), InspectionQueue::Options());
  p.exporter =
      std::make_unique<LoraExporter>(p.model.get(), p.serving.model.name);
  p.runner = std::make_unique<TorchRunner>(p.model.get(), std::move(kv));
  Engine::Options engine;
  engine.scheduler.max_running = options_.max_running;
  engine.scheduler.max_step_tokens =
      std::max(options_.max_step_tokens, options_.max_running);
  engine.scheduler.num_kv_blocks = static_cast<int32_t>(num_blocks);
  engine.scheduler.kv_block_tokens = kKvBlockTokens;
  engine.max_queued = options_.max_queued;
  p.engine = std::make_unique<Engine>(engine, p.runner.get(), p.tokenizer.get(),
                                      &p.metrics);
  p.serving.model.kv_cache_tokens = num_blocks * kKvBlockTokens;
  p.serving.model.max_running_sequences = options_.max_running;
  return absl::OkStatus();
}

absl::Status Daemon::Load() {
  // On a thread of its own: libgomp keeps a pool of threads for every thread
  // that ran a product, until that thread ends (model/torch_threads.h).
  absl::Status status;
  std::thread([&] { status = LoadHere(); }).join();
  return status;
}

absl::Status Daemon::LoadHere() {
  Parts& p = *parts_;
  const absl::Time start = absl::Now();
  RocksStoreOptions store;
  store.path = options_.registry;
  store.max_bytes = static_cast<uint64_t>(options_.registry_max_bytes);
  ASSIGN_OR_RETURN(store.quotas,
                   NamespaceQuotas::Parse(options_.namespace_quotas));
  store.undelete_window = options_.undelete_window;
  store.scrub_period = options_.scrub_period;
  ASSIGN_OR_RETURN(p.store, RocksStore::Open(std::move(store)));
  p.parked = std::make_unique<ParkedUploads>(
      ParkedUploads::Options{.window = options_.upload_resume_window});
  RETURN_IF_ERROR(LoadModel());
  RETURN_IF_ERROR(StartEngine());
  p.serving.tokenizer = p.tokenizer.get();
  p.serving.store = p.store.get();
  p.serving.registry = p.store.get();
  p.serving.parked = p.parked.get();
  p.serving.signing_keys = &*p.signing_keys;
  p.serving.require_signature = options_.require_signature;
  p.serving.recipes = &p.store->recipes();
  p.serving.composer = p.composer.get();
  p.serving.exporter = p.exporter.get();
  p.serving.pinned = &p.pinned;
  p.serving.inspections = p.inspections.get();
  p.serving.engine = p.engine.get();
  p.serving.metrics = &p.metrics;
  // Loading took and freed as much again as it kept.
  malloc_trim(0);
  p.watch = std::make_unique<RegistryWatch>(
      p.store.get(), RegistryWatch::Options(),
      [&p](bool writable) { p.health->SetRegistryWritable(writable); });
  p.slot.store(&p.serving);
  p.health->SetServing(true);
  Log(Severity::kInfo, "serving",
      {{"base_model", p.serving.model.name},
       {"digest", p.serving.model.digest.ToString()},
       {"port", absl::StrCat(p.port)},
       {"metrics_port", absl::StrCat(p.http->port())},
       {"weight_bytes", absl::StrCat(p.model->weight_bytes())},
       {"kv_cache_tokens", absl::StrCat(p.serving.model.kv_cache_tokens)},
       {"load_seconds",
        absl::StrCat(absl::ToDoubleSeconds(absl::Now() - start))}});
  return absl::OkStatus();
}

void Daemon::StopAccepting() {
  parts_->health->SetServing(false);
  if (parts_->slot.load() != nullptr) {
    parts_->engine->StopAccepting();
  }
}

int32_t Daemon::Drain(absl::Time deadline) {
  StopAccepting();
  return parts_->slot.load() == nullptr ? 0 : parts_->engine->Drain(deadline);
}

void Daemon::RefreshGauges() {
  const Serving* serving = parts_->slot.load();
  if (serving == nullptr) {
    return;
  }
  Metrics& metrics = parts_->metrics;
  const CacheStats adapters = serving->composer->AdapterStats();
  const CacheStats mixes = serving->composer->CompositionStats();
  metrics.adapter_cache_bytes.Set(static_cast<double>(adapters.charge));
  metrics.composition_bytes.Set(static_cast<double>(mixes.charge));
  metrics.composition_pinned_bytes.Set(
      static_cast<double>(adapters.pinned_charge + mixes.pinned_charge));
  const int64_t evictions = adapters.evictions + mixes.evictions;
  metrics.composition_evictions.Add(
      static_cast<double>(evictions - parts_->evictions_seen));
  parts_->evictions_seen = evictions;
  parts_->watch->SetGauges(&metrics);
  parts_->parked->SetGauges(&metrics);
}

}  // namespace stockpot
