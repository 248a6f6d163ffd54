// stockpotd: keeps one base model resident and serves recipes of skills.

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/log.h"
#include "server/daemon.h"

ABSL_FLAG(std::string, model, "",
          "Hugging Face directory of the base model: config.json, safetensors, "
          "tokenizer. Required.");
ABSL_FLAG(std::string, registry, "",
          "Directory of the adapter registry; made if absent. Required.");
ABSL_FLAG(std::string, listen, "0.0.0.0:50051", "Address of the gRPC port.");
ABSL_FLAG(std::string, metrics_listen, "0.0.0.0:9090",
          "Address of the port that answers GET /metrics.");
ABSL_FLAG(std::string, dtype, "bfloat16",
          "What the model runs in: bfloat16 or float32.");
ABSL_FLAG(std::string, device, "cpu", "cpu, or cuda[:N] in a CUDA build.");
ABSL_FLAG(int32_t, threads, 0, "Threads of the model; 0: one per core.");
ABSL_FLAG(int32_t, max_running, 64, "Sequences in one step, at most.");
ABSL_FLAG(int32_t, max_queued, 256,
          "Sequences accepted and not yet running; one more is refused with "
          "RESOURCE_EXHAUSTED.");
ABSL_FLAG(int32_t, max_step_tokens, 512,
          "Tokens read in one step; long prompts are read in such chunks.");
ABSL_FLAG(int32_t, max_context_tokens, 0,
          "Prompt and answer together; 0: what the model was made for.");
ABSL_FLAG(int64_t, kv_cache_bytes, int64_t{1} << 30,
          "Keys and values of all running sequences.");
ABSL_FLAG(int64_t, adapter_cache_bytes, int64_t{1} << 30,
          "Decoded adapters in memory.");
ABSL_FLAG(int64_t, composition_cache_bytes, int64_t{64} << 20,
          "Mixing coefficients of recent recipes.");
ABSL_FLAG(int64_t, registry_max_bytes, 0,
          "Bytes of all stored adapters; 0: as the disk allows.");
ABSL_FLAG(std::string, namespace_quotas, "",
          "What namespaces may store, as in \"team-a:bytes=1000000000,"
          "adapters=50,uploads_per_minute=6;*:adapters=10\"; * is every other "
          "one, default that of names without a slash.");
ABSL_FLAG(absl::Duration, undelete_window, absl::Hours(7 * 24),
          "How long a deleted adapter can be brought back; 0: not at all.");
ABSL_FLAG(absl::Duration, scrub_period, absl::Hours(24),
          "In which all stored adapters are read and compared with their "
          "hashes once, at 1 MiB/s or as fast as that takes; 0: only when "
          "`stockpot hub verify` asks.");
ABSL_FLAG(absl::Duration, upload_idle_timeout, absl::Seconds(60),
          "An upload that is silent for so long is cut, and so is a stream to "
          "a client that takes nothing of it.");
ABSL_FLAG(int64_t, upload_min_bytes_per_second, 1024,
          "An upload that is slower, over --upload_pace_window, is cut; 0: as "
          "slow as it likes.");
ABSL_FLAG(absl::Duration, upload_pace_window, absl::Seconds(60),
          "How long the server waits for an upload's bytes before it judges "
          "their pace.");
ABSL_FLAG(absl::Duration, upload_resume_window, absl::Minutes(10),
          "How long an upload that broke off can be resumed; 0: not at all.");
ABSL_FLAG(std::string, signing_keys, "",
          "Public keys whose signatures over an upload count: "
          "NAME=PATH,NAME=PATH, PEM files; docs/signatures.md.");
ABSL_FLAG(bool, require_signature, false,
          "Refuse uploads that none of --signing_keys signed.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(30),
          "How long running calls may go on after SIGTERM.");

namespace {

stockpot::DaemonOptions OptionsFromFlags() {
  return {
      .model = absl::GetFlag(FLAGS_model),
      .registry = absl::GetFlag(FLAGS_registry),
      .listen = absl::GetFlag(FLAGS_listen),
      .metrics_listen = absl::GetFlag(FLAGS_metrics_listen),
      .dtype = absl::GetFlag(FLAGS_dtype),
      .device = absl::GetFlag(FLAGS_device),
      .num_threads = absl::GetFlag(FLAGS_threads),
      .max_running = absl::GetFlag(FLAGS_max_running),
      .max_queued = absl::GetFlag(FLAGS_max_queued),
      .max_step_tokens = absl::GetFlag(FLAGS_max_step_tokens),
      .max_context_tokens = absl::GetFlag(FLAGS_max_context_tokens),
      .kv_cache_bytes = absl::GetFlag(FLAGS_kv_cache_bytes),
      .adapter_cache_bytes = absl::GetFlag(FLAGS_adapter_cache_bytes),
      .composition_cache_bytes = absl::GetFlag(FLAGS_composition_cache_bytes),
      .registry_max_bytes = absl::GetFlag(FLAGS_registry_max_bytes),
      .namespace_quotas = absl::GetFlag(FLAGS_namespace_quotas),
      .undelete_window = absl::GetFlag(FLAGS_undelete_window),
      .scrub_period = absl::GetFlag(FLAGS_scrub_period),
      .upload_idle_timeout = absl::GetFlag(FLAGS_upload_idle_timeout),
      .upload_min_bytes_per_second =
          absl::GetFlag(FLAGS_upload_min_bytes_per_second),
      .upload_pace_window = absl::GetFlag(FLAGS_upload_pace_window),
      .upload_resume_window = absl::GetFlag(FLAGS_upload_resume_window),
      .signing_keys = absl::GetFlag(FLAGS_signing_keys),
      .require_signature = absl::GetFlag(FLAGS_require_signature)};
}

int Fail(const absl::Status& status) {
  stockpot::Log(stockpot::Severity::kError, "cannot start",
                {{"error", std::string(status.message())}});
  std::fprintf(stderr, "stockpotd: %s\n",
               std::string(status.message()).c_str());
  return 1;
}

// Waits for SIGTERM or SIGINT. REQUIRES: both are blocked in every thread.
void WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  stockpot::Log(stockpot::Severity::kInfo, "draining",
                {{"signal", absl::StrCat(signal)}});
}

}  // namespace

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "keeps one base model resident and serves recipes of LoRA skills.\n"
      "  stockpotd --model=DIR --registry=DIR [flags]");
  absl::ParseCommandLine(argc, argv);
  // Code that oneDNN has compiled for shapes it met; its default of 1024
  // entries would grow to hundreds of megabytes. Read when libtorch first uses
  // it.
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", /*overwrite=*/0);
  setenv("LRU_CACHE_CAPACITY", "128", /*overwrite=*/0);
  // Before any thread starts, so that only the main thread sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  if (absl::GetFlag(FLAGS_model).empty() ||
      absl::GetFlag(FLAGS_registry).empty()) {
    return Fail(absl::InvalidArgumentError(
        "--model and --registry are required; see --help"));
  }
  absl::StatusOr<std::unique_ptr<stockpot::Daemon>> daemon =
      stockpot::Daemon::Start(OptionsFromFlags());
  if (!daemon.ok()) {
    return Fail(daemon.status());
  }
  if (const absl::Status status = (*daemon)->Load(); !status.ok()) {
    return Fail(status);
  }
  WaitForSignal(signals);
  // A second signal does not wait for anybody.
  std::thread([signals] {
    int signal = 0;
    sigwait(&signals, &signal);
    _exit(1);
  }).detach();
  const int32_t cut =
      (*daemon)->Drain(absl::Now() + absl::GetFlag(FLAGS_drain_timeout));
  stockpot::Log(stockpot::Severity::kInfo, "drained",
                {{"calls_cut", absl::StrCat(cut)}});
  daemon->reset();
  return 0;
}
