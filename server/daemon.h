// The Daemon owns every part, builds them in the order of their dependencies
// and destroys them in reverse.
//
// Life: Start() opens the ports (health says NOT_SERVING), Load() reads the
// model and opens the registry (SERVING), Drain() lets calls end, the
// destructor stops what is left. One thread calls these; StopAccepting() is
// thread-safe.

#ifndef STOCKPOT_SERVER_DAEMON_H_
#define STOCKPOT_SERVER_DAEMON_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace stockpot {

struct DaemonOptions {
  std::string model;                     // Hugging Face directory.
  std::string registry;                  // RocksDB directory; made if absent.
  std::string listen = "0.0.0.0:50051";  // Port 0: any.
  std::string metrics_listen = "0.0.0.0:9090";  // Port 0: any.
  std::string dtype = "bfloat16";               // or "float32"
  std::string device = "cpu";                   // or "cuda", "cuda:N"
  int32_t num_threads = 0;                      // 0: one per core.
  int32_t max_running = 64;
  int32_t max_queued = 256;
  int32_t max_step_tokens = 512;
  int32_t max_context_tokens = 0;  // 0: the model's own.
  int64_t kv_cache_bytes = int64_t{1} << 30;
  int64_t adapter_cache_bytes = int64_t{1} << 30;
  int64_t composition_cache_bytes = int64_t{64} << 20;
  int64_t registry_max_bytes = 0;  // 0: as the disk allows.
  std::string namespace_quotas;    // As NamespaceQuotas::Parse().
  absl::Duration undelete_window = absl::Hours(7 * 24);
  // In which all that is stored is checked once; 0: only on demand.
  absl::Duration scrub_period = absl::Hours(24);
  absl::Duration upload_idle_timeout = absl::Seconds(60);
  int64_t upload_min_bytes_per_second = 1024;  // 0: any.
  absl::Duration upload_pace_window = absl::Seconds(60);
  absl::Duration upload_resume_window = absl::Minutes(10);  // 0: none.
  std::string signing_keys;  // As SigningKeys::Load().
  bool require_signature = false;
};

class Daemon {
 public:
  // Errors: InvalidArgument (an option), Unavailable (a port is taken).
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(DaemonOptions options);
  ~Daemon();

  // Errors: those of BaseModel::Load(), Tokenizer::Load(), RocksStore::Open();
  // InvalidArgument if the KV cache holds not even one block.
  absl::Status Load();

  // Readiness goes; new Generate calls get Unavailable.
  void StopAccepting();

  // As StopAccepting(), then waits for running calls until `deadline` and ends
  // the rest with Unavailable. Returns how many were cut.
  int32_t Drain(absl::Time deadline);

  int port() const;
  int metrics_port() const;

 private:
  struct Parts;
  explicit Daemon(DaemonOptions options);

  absl::Status LoadHere();
  absl::Status LoadModel();
  absl::Status StartEngine();
  void RefreshGauges();

  const DaemonOptions options_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_DAEMON_H_
