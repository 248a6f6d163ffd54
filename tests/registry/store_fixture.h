// What the registry's tests share: uploads in one line, and a temporary
// folder.

#ifndef STOCKPOT_TESTS_REGISTRY_STORE_FIXTURE_H_
#define STOCKPOT_TESTS_REGISTRY_STORE_FIXTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "registry/adapter_store.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {

// `size` bytes that do not compress and differ for each seed.
inline std::string RandomBytes(size_t size, uint32_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random();
    for (size_t j = 0; j < 8 && i + j < size; ++j) {
      bytes[i + j] = static_cast<char>(word >> (8 * j));
    }
  }
  return bytes;
}

inline UploadSpec SpecFor(absl::string_view name, absl::string_view bytes) {
  UploadSpec spec;
  spec.name = std::string(name);
  spec.adapter_config = R"({"peft_type":"LORA","r":4})";
  spec.size_bytes = bytes.size();
  spec.sha256 = Sha256::Of(bytes);
  return spec;
}

inline AdapterFacts SomeFacts() {
  AdapterFacts facts;
  facts.num_parameters = 1234;
  facts.peft_type = "LORA";
  facts.min_rank = 4;
  facts.max_rank = 8;
  facts.kept_energy = 0.97;
  facts.target_modules = {"q_proj", "v_proj"};
  facts.base_model = "demo/base";
  facts.base_model_digest = Sha256::Of("base");
  return facts;
}

// Uploads `bytes` in pieces of `piece` bytes and commits.
inline absl::StatusOr<CommitResult> Store(AdapterStore& store, UploadSpec spec,
                                          absl::string_view bytes,
                                          size_t piece = 100'000) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Upload> upload,
                   store.BeginUpload(std::move(spec)));
  for (size_t at = 0; at < bytes.size(); at += piece) {
    RETURN_IF_ERROR(upload->Append(bytes.substr(at, piece)));
  }
  return upload->Commit(SomeFacts());
}

inline absl::StatusOr<CommitResult> Store(AdapterStore& store,
                                          absl::string_view name,
                                          absl::string_view bytes) {
  return Store(store, SpecFor(name, bytes), bytes);
}

// All bytes from Next(), to the end and its check.
inline absl::StatusOr<std::string> ReadAll(BlobReader& reader) {
  std::string bytes;
  std::string chunk;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&chunk));
    if (!more) {
      return bytes;
    }
    bytes += chunk;
  }
}

inline absl::StatusOr<std::string> ReadBlob(AdapterStore& store,
                                            const Digest& digest) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobReader> reader,
                   store.OpenBlob(digest));
  return ReadAll(*reader);
}

// REQUIRES: `text` parses.
inline AdapterRef Ref(absl::string_view text) {
  return AdapterRef::Parse(text).value();
}

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_REGISTRY_STORE_FIXTURE_H_
