// Compactions and the removal of blobs beside a running Generate: uploads and
// purges of an adapter after the other, each of which makes the registry write,
// compact and collect, while one call decodes. Prints the time per token with
// and without them; no time decides.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include <grpcpp/grpcpp.h>

#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "tests/e2e/tiny_daemon.h"
#include "tests/testing/tiny_adapter.h"
#include "tests/testing/tiny_model.h"

namespace stockpot {
namespace {

using testing::LoraConfig;
using testing::TinyAdapter;
using testing::TinyDaemon;

constexpr uint32_t kTokens = 300;

struct Answer {
  std::vector<uint32_t> tokens;
  std::vector<double> gaps_ms;  // Between messages, sorted.
  double decode_ms = 0;         // As the server says.
};

class CompactionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    testing::TinyModelSpec spec = testing::TinyLlama();
    spec.config["vocab_size"] = TinyDaemon::kVocabulary;
    spec.config["hidden_size"] = 256;
    spec.config["intermediate_size"] = 688;
    spec.config["num_hidden_layers"] = 4;
    daemon_ = std::make_unique<TinyDaemon>(spec, "float32", int64_t{64} << 20);
    channel_ = Connect();
    churn_channel_ = Connect();
    large_ = testing::MakeTinyAdapter(
        {.config = LoraConfig(128, 128, "all-linear")}, daemon_->modules());
    const TinyAdapter skill = testing::MakeTinyAdapter(
        {.config = LoraConfig(8, 8, {"q_proj", "v_proj"}), .seed = 2},
        daemon_->modules());
    testing::RegisterOver(churn_channel_, "skill", skill);
  }

  // A connection of its own: on a shared one, uploads and tokens queue up
  // behind each other, whatever the registry does.
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(
        daemon_->address(), grpc::InsecureChannelCredentials(), arguments);
  }

  void Purge(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteAdapterRequest request;
    request.set_adapter(name);
    request.set_purge(true);
    v1::DeleteAdapterResponse response;
    const grpc::Status status =
        v1::RegistryService::NewStub(churn_channel_)
            ->DeleteAdapter(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  // Uploads and purges until `done`, and more than the write buffers hold;
  // returns how often.
  int Churn(const std::atomic<bool>& done) {
    int count = 0;
    for (; !done || count < 8; ++count) {
      // Another config is other content, so the bytes are stored again.
      nlohmann::ordered_json config =
          nlohmann::ordered_json::parse(large_.config);
      config["lora_alpha"] = 1 + count;
      testing::RegisterOver(churn_channel_, "churn",
                            {config.dump(), large_.safetensors});
      Purge(absl::StrCat("churn@", count + 1));
    }
    return count;
  }

  Answer Generate() {
    v1::GenerateRequest request;
    v1::Skill* skill = request.mutable_recipe()->add_skills();
    skill->set_adapter("skill");
    skill->set_weight(1);
    for (const uint32_t id : {5, 17, 300, 99, 42, 8}) {
      request.mutable_prompt()->mutable_token_ids()->add_ids(id);
    }
    request.mutable_limits()->set_max_new_tokens(kTokens);
    request.mutable_limits()->set_ignore_eos(true);
    grpc::ClientContext context;
    const auto stub = v1::GenerationService::NewStub(channel_);
    auto stream = stub->Generate(&context, request);
    Answer answer;
    v1::GenerateResponse response;
    absl::Time last = absl::InfinitePast();
    while (stream->Read(&response)) {
      for (const v1::Token& token : response.delta().tokens()) {
        answer.tokens.push_back(token.id());
      }
      if (response.has_finish()) {
        const auto& decode = response.finish().timings().decode();
        answer.decode_ms = 1e3 * static_cast<double>(decode.seconds()) +
                           1e-6 * static_cast<double>(decode.nanos());
      }
      const absl::Time now = absl::Now();
      if (last != absl::InfinitePast()) {
        answer.gaps_ms.push_back(absl::ToDoubleMilliseconds(now - last));
      }
      last = now;
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    std::sort(answer.gaps_ms.begin(), answer.gaps_ms.end());
    return answer;
  }

  uint64_t BlobFileBytes() const {
    uint64_t bytes = 0;
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator(daemon_->registry_path(), error)) {
      if (entry.path().extension() == ".blob") {
        // It may go while we look.
        const uint64_t size = entry.file_size(error);
        bytes += error ? 0 : size;
      }
    }
    return bytes;
  }

  std::unique_ptr<TinyDaemon> daemon_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<grpc::Channel> churn_channel_;
  TinyAdapter large_;
};

void Print(const char* what, const Answer& answer) {
  const std::vector<double>& gaps = answer.gaps_ms;
  const auto at = [&](double share) {
    return gaps[static_cast<size_t>(share *
                                    static_cast<double>(gaps.size() - 1))];
  };
  std::printf(
      "%s: per token %.2f ms median, %.2f ms p99, %.2f ms at most; decode "
      "%.0f ms\n",
      what, at(0.5), at(0.99), gaps.back(), answer.decode_ms);
}

TEST_F(CompactionTest, GenerateGoesOnWhileTheRegistryCompacts) {
  const Answer quiet = Generate();
  std::atomic<bool> done = false;
  int num_churned = 0;
  std::thread churn([&] { num_churned = Churn(done); });
  const Answer busy = Generate();
  done = true;
  churn.join();
  ASSERT_EQ(quiet.tokens.size(), kTokens);
  EXPECT_EQ(busy.tokens, quiet.tokens);
  // What was purged is collected, so the registry did compact.
  const uint64_t churned_bytes =
      static_cast<uint64_t>(num_churned) * large_.safetensors.size();
  for (int i = 0; i < 3000 && BlobFileBytes() >= churned_bytes / 2; ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_LT(BlobFileBytes(), churned_bytes / 2);
  std::printf("%d adapters of %.1f MB came and went\n", num_churned,
              static_cast<double>(large_.safetensors.size()) / 1e6);
  Print("quiet", quiet);
  Print("busy", busy);
}

}  // namespace
}  // namespace stockpot
