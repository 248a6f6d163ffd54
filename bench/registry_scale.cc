// What a registry costs by the number of its adapters: time to open, resident
// memory, latency of Get and of the first page of List. One run either fills a
// registry or measures one, so that the memory of filling is not measured:
//
//   stockpot-registry-scale --registry=DIR --fill=10000
//   stockpot-registry-scale --registry=DIR
//
// Prints one line of a Markdown table when it measures.

#include <malloc.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "registry/rocks_store.h"

ABSL_FLAG(std::string, registry, "", "Directory of the registry");
ABSL_FLAG(int32_t, fill, 0, "Adapters to store; 0: measure what is there");
ABSL_FLAG(int32_t, adapter_bytes, 16 << 10, "Of each adapter's file");
ABSL_FLAG(int32_t, inspection_bytes, 10 << 10,
          "Of each adapter's inspection; those of 112 modules take 10 KiB");
ABSL_FLAG(int32_t, opens, 7, "Times that the registry is opened");
ABSL_FLAG(int32_t, gets, 20000, "Calls of Get, of random adapters");
ABSL_FLAG(int32_t, lists, 200, "Calls of List, for the first page of 100");

namespace stockpot {
namespace {

std::string NameOf(int32_t i) { return absl::StrCat("team-", i % 50, "/s", i); }

// A config as large as PEFT writes it.
std::string Config() {
  return absl::StrCat(
      R"({"peft_type":"LORA","r":16,"lora_alpha":32,"padding":")",
      std::string(700, 'x'), R"("})");
}

absl::StatusOr<std::unique_ptr<RocksStore>> Open() {
  RocksStoreOptions options;
  options.path = absl::GetFlag(FLAGS_registry);
  return RocksStore::Open(std::move(options));
}

std::string RandomBytes(size_t size, std::mt19937_64* random) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>((*random)());
  }
  return bytes;
}

absl::Status StoreOne(RocksStore* store, int32_t i) {
  std::mt19937_64 random(static_cast<uint64_t>(i));
  const std::string bytes = RandomBytes(
      static_cast<size_t>(absl::GetFlag(FLAGS_adapter_bytes)), &random);
  UploadSpec spec;
  spec.name = NameOf(i);
  spec.adapter_config = Config();
  spec.labels = {{"team", absl::StrCat("team-", i % 50)}, {"stage", "test"}};
  spec.description = "one of many";
  spec.size_bytes = bytes.size();
  spec.sha256 = Sha256::Of(bytes);
  ASSIGN_OR_RETURN(const std::unique_ptr<Upload> upload,
                   store->BeginUpload(std::move(spec)));
  RETURN_IF_ERROR(upload->Append(bytes));
  AdapterFacts facts;
  facts.num_parameters = 1'000'000;
  facts.peft_type = "LORA";
  facts.min_rank = facts.max_rank = 16;
  facts.target_modules = {"down_proj", "gate_proj", "k_proj", "o_proj",
                          "q_proj",    "up_proj",   "v_proj"};
  facts.base_model = "demo/base";
  ASSIGN_OR_RETURN(const CommitResult result, upload->Commit(facts));
  // Nothing is compressed, so its bytes do not matter.
  return store->inspections().Put(
      result.record.digest,
      RandomBytes(static_cast<size_t>(absl::GetFlag(FLAGS_inspection_bytes)),
                  &random));
}

absl::Status Fill() {
  ASSIGN_OR_RETURN(const std::unique_ptr<RocksStore> store, Open());
  const absl::Time start = absl::Now();
  const int32_t count = absl::GetFlag(FLAGS_fill);
  for (int32_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(StoreOne(store.get(), i));
  }
  RETURN_IF_ERROR(store->SetAlias(NameOf(0), "prod", 1).status());
  std::fprintf(stderr, "stored %d adapters in %.1f s\n", count,
               absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

// In KiB.
int64_t ResidentKib() {
  std::ifstream file("/proc/self/status");
  std::string key;
  int64_t kib = 0;
  while (file >> key) {
    if (key == "VmRSS:") {
      file >> kib;
      break;
    }
  }
  return kib;
}

// Of sorted values: the smallest with at least `share` of all at or below it.
double Quantile(const std::vector<double>& sorted, double share) {
  const auto n = static_cast<double>(sorted.size());
  return sorted[static_cast<size_t>(std::min(n - 1, share * n))];
}

// Sorted seconds of `count` runs.
absl::StatusOr<std::vector<double>> Time(
    int32_t count, const std::function<absl::Status()>& run) {
  std::vector<double> seconds;
  for (int32_t i = 0; i < count; ++i) {
    const absl::Time start = absl::Now();
    RETURN_IF_ERROR(run());
    seconds.push_back(absl::ToDoubleSeconds(absl::Now() - start));
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

absl::Status Measure() {
  malloc_trim(0);
  const int64_t before_kib = ResidentKib();
  std::unique_ptr<RocksStore> store;
  ASSIGN_OR_RETURN(const std::vector<double> opens,
                   Time(absl::GetFlag(FLAGS_opens), [&]() -> absl::Status {
                     store.reset();
                     ASSIGN_OR_RETURN(store, Open());
                     return absl::OkStatus();
                   }));
  const int64_t opened_kib = ResidentKib() - before_kib;
  const auto count = static_cast<int32_t>(store->Stats().num_adapters);
  if (count == 0) {
    return absl::FailedPreconditionError(
        "the registry is empty; run with --fill first");
  }
  std::mt19937_64 random(1);
  ASSIGN_OR_RETURN(
      const std::vector<double> gets, Time(absl::GetFlag(FLAGS_gets), [&] {
        AdapterRef ref;
        ref.name = NameOf(
            static_cast<int32_t>(random() % static_cast<uint64_t>(count)));
        return store->Get(ref).status();
      }));
  ASSIGN_OR_RETURN(const std::vector<double> lists,
                   Time(absl::GetFlag(FLAGS_lists),
                        [&] { return store->List(ListOptions()).status(); }));
  std::printf("| %d | %.0f | %.1f | %.1f | %.0f | %.0f | %.2f |\n", count,
              1e3 * Quantile(opens, 0.5),
              static_cast<double>(opened_kib) / 1024,
              static_cast<double>(ResidentKib() - before_kib) / 1024,
              1e6 * Quantile(gets, 0.5), 1e6 * Quantile(gets, 0.99),
              1e3 * Quantile(lists, 0.5));
  return absl::OkStatus();
}

}  // namespace
}  // namespace stockpot

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage(
      "What a registry costs by the number of its adapters.");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status =
      absl::GetFlag(FLAGS_registry).empty()
          ? absl::InvalidArgumentError("--registry is not set")
      : absl::GetFlag(FLAGS_fill) > 0 ? stockpot::Fill()
                                      : stockpot::Measure();
  if (!status.ok()) {
    std::fprintf(stderr, "stockpot-registry-scale: %s\n",
                 status.ToString().c_str());
    return 1;
  }
  return 0;
}
