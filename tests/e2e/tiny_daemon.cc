#include "tests/e2e/tiny_daemon.h"

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "proto/stockpot/v1/generation.grpc.pb.h"
#include "proto/stockpot/v1/registry.grpc.pb.h"

#include "base/sha256.h"
#include "formats/model_config.h"
#include "model/modules.h"

namespace stockpot::testing {

namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

}  // namespace

TinyDaemon::TinyDaemon(const TinyModelSpec& spec, const std::string& dtype,
                       int64_t kv_cache_bytes)
    : modules_(ModulesOf(*ModelConfig::Parse(spec.config.dump(), ""))) {
  DaemonOptions options;
  options.model = path() + "/model";
  WriteTinyModel(options.model, spec);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::copy_file(
        absl::StrCat(STOCKPOT_SOURCE_DIR, "/tests/golden/tokenizer/gpt2/",
                     file),
        options.model + "/" + file);
  }
  options.registry = registry_path();
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "127.0.0.1:0";
  options.dtype = dtype;
  options.kv_cache_bytes = kv_cache_bytes;
  auto daemon = Daemon::Start(options);
  EXPECT_TRUE(daemon.ok()) << daemon.status();
  daemon_ = *std::move(daemon);
  const absl::Status loaded = daemon_->Load();
  EXPECT_TRUE(loaded.ok()) << loaded;
  address_ = absl::StrCat("127.0.0.1:", daemon_->port());
  channel_ = grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
}

std::string RegisterOver(const std::shared_ptr<grpc::Channel>& channel,
                         const std::string& name, const TinyAdapter& adapter) {
  const auto stub = v1::RegistryService::NewStub(channel);
  grpc::ClientContext context;
  v1::RegisterAdapterResponse response;
  const auto stream = stub->RegisterAdapter(&context, &response);
  v1::RegisterAdapterRequest request;
  v1::AdapterMetadata* metadata = request.mutable_metadata();
  metadata->set_name(name);
  metadata->set_size_bytes(adapter.safetensors.size());
  metadata->set_sha256(Sha256::Of(adapter.safetensors).ToHex());
  metadata->set_adapter_config(adapter.config);
  bool open = stream->Write(request);
  for (size_t at = 0; open && at < adapter.safetensors.size();
       at += kChunkBytes) {
    request.set_chunk(adapter.safetensors.substr(at, kChunkBytes));
    open = stream->Write(request);
  }
  stream->WritesDone();
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
  return response.adapter().digest();
}

std::map<uint32_t, float> LikeliestNext(
    const std::shared_ptr<grpc::Channel>& channel, v1::GenerateRequest request,
    const std::vector<uint32_t>& prompt, uint32_t top) {
  for (const uint32_t id : prompt) {
    request.mutable_prompt()->mutable_token_ids()->add_ids(id);
  }
  request.mutable_limits()->set_max_new_tokens(1);
  request.mutable_limits()->set_ignore_eos(true);
  request.mutable_output()->set_top_logprobs(top);
  const auto stub = v1::GenerationService::NewStub(channel);
  grpc::ClientContext context;
  const auto stream = stub->Generate(&context, request);
  std::map<uint32_t, float> next;
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    for (const v1::Token& token : response.delta().tokens()) {
      for (const v1::TokenLogprob& other : token.top()) {
        next[other.id()] = other.logprob();
      }
    }
  }
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  return next;
}

}  // namespace stockpot::testing
