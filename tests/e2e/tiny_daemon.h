// The whole daemon on a tiny model, and what its clients ask of it here.

#ifndef STOCKPOT_TESTS_E2E_TINY_DAEMON_H_
#define STOCKPOT_TESTS_E2E_TINY_DAEMON_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/generation.pb.h"

#include "formats/adapter_layout.h"
#include "server/daemon.h"
#include "tests/testing/temp_dir.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot::testing {

class TinyDaemon {
 public:
  // As many tokens as the tokenizer has, which every model must have, too.
  static constexpr int kVocabulary = 704;

  // Serves the model `spec` in `dtype`; ready on return.
  explicit TinyDaemon(const TinyModelSpec& spec,
                      const std::string& dtype = "float32",
                      int64_t kv_cache_bytes = int64_t{4} << 20);

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  // Of the port on loopback.
  const std::string& address() const { return address_; }
  // A folder of its own, which goes with the daemon.
  const std::string& path() const { return dir_.path(); }
  std::string registry_path() const { return path() + "/registry"; }
  const std::vector<BaseModule>& modules() const { return modules_; }

 private:
  const TempDir dir_;
  std::vector<BaseModule> modules_;
  std::unique_ptr<Daemon> daemon_;
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
};

// Uploads an adapter and returns its digest.
std::string RegisterOver(const std::shared_ptr<grpc::Channel>& channel,
                         const std::string& name, const TinyAdapter& adapter);

// Has `request` generate one token after `prompt`, and returns the
// log-probabilities of the `top` likeliest, by id.
std::map<uint32_t, float> LikeliestNext(
    const std::shared_ptr<grpc::Channel>& channel, v1::GenerateRequest request,
    const std::vector<uint32_t>& prompt, uint32_t top);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_E2E_TINY_DAEMON_H_
