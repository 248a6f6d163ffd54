#include "tests/faults/history.h"

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/status_macros.h"
#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

void CheckBytes(RocksStore& store, const AdapterRecord& record,
                const LineWriter& out) {
  const absl::StatusOr<std::string> bytes = ReadBlob(store, record.digest);
  if (!bytes.ok() || *bytes != BytesOf(record.name)) {
    out.Say(absl::StrCat("Ftorn or wrong: ", record.name, " ",
                         bytes.status().message()));
  }
}

absl::StatusOr<std::map<std::string, AdapterRecord>> ListAll(
    RocksStore& store) {
  std::map<std::string, AdapterRecord> found;
  ListOptions options;
  options.page_size = kMaxPageSize;
  do {
    ASSIGN_OR_RETURN(AdapterPage page, store.List(options));
    for (AdapterRecord& record : page.records) {
      found[record.name] = std::move(record);
    }
    options.page_token = page.next_page_token;
  } while (!options.page_token.empty());
  return found;
}

}  // namespace

std::string BytesOf(absl::string_view name) {
  const auto seed =
      static_cast<uint32_t>(std::hash<std::string>{}(std::string(name)));
  std::mt19937 random(seed);
  const size_t most = random() % 12 == 0 ? 1'500'000 : 60'000;
  return RandomBytes(500 + random() % most, seed);
}

bool History::Take(const std::string& line) {
  const std::string name = line.substr(1);
  switch (line[0]) {
    case '?':
      adapters_[name] = Expected::kEither;
      return true;
    case '+':
      adapters_[name] = Expected::kStored;
      return true;
    case '-':
      adapters_[name] = Expected::kGone;
      return true;
    case 'F':
      failures_.push_back(name);
      return true;
    default:
      return false;
  }
}

void History::Inspect(RocksStore& store, bool thorough,
                      const LineWriter& out) const {
  const absl::StatusOr<std::map<std::string, AdapterRecord>> found =
      ListAll(store);
  if (!found.ok()) {
    out.Say(absl::StrCat("Flist: ", found.status().message()));
    return;
  }
  uint64_t num_chunks = 0;
  for (const auto& [name, record] : *found) {
    num_chunks += (record.size_bytes + kBlobChunkBytes - 1) / kBlobChunkBytes;
    const auto known = adapters_.find(name);
    if (known == adapters_.end()) {
      out.Say(absl::StrCat("Fnever uploaded: ", name));
    } else if (known->second == Expected::kGone) {
      out.Say(absl::StrCat("Fdeleted and back: ", name));
    } else if (known->second == Expected::kEither) {
      CheckBytes(store, record, out);
      out.Say(absl::StrCat("+", name));
      continue;
    }
    if (thorough) {
      CheckBytes(store, record, out);
    }
  }
  for (const auto& [name, expected] : adapters_) {
    if (!found->contains(name) && expected != Expected::kGone) {
      out.Say(
          absl::StrCat(expected == Expected::kStored ? "Flost: " : "-", name));
    }
  }
  if (const StoreStats stats = store.Stats();
      stats.num_damaged != 0 || stats.num_adapters != found->size()) {
    out.Say(absl::StrCat("Fstats: ", stats.num_damaged, " damaged, ",
                         stats.num_adapters, " of ", found->size()));
  }
  if (thorough) {
    const absl::StatusOr<uint64_t> counted = store.CountChunks();
    if (!counted.ok() || *counted != num_chunks) {
      out.Say(absl::StrCat("Fchunks: ", counted.value_or(0), " stored, ",
                           num_chunks, " named"));
    }
  }
}

}  // namespace stockpot::testing
