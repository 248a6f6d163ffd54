// Damages each kind of file of a registry, one bit or one cut at a time, and
// looks at what the registry makes of it: a refusal to open that says why, or
// DATA_LOSS for the adapters that lost bytes, or the bytes that were stored.
// Never an adapter that is silently gone, changed or back from the dead.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

#include "registry/adapter_store.h"
#include "registry/rocks_store.h"
#include "tests/faults/child_process.h"
#include "tests/faults/fault_form.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

namespace fs = std::filesystem;

RocksStoreOptions OptionsFor(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.reserve_bytes = 1 << 20;
  // Purging would take bytes out of the log.
  options.undelete_window = absl::Hours(24);
  options.log = [](Severity, absl::string_view) {};
  return options;
}

// What the undamaged store holds, and what it no longer holds.
struct Contents {
  std::map<std::string, std::string> adapters;  // By "name@version".
  std::map<std::string, std::string> aliases;   // To "name@version".
  std::vector<std::string> deleted;
};

// Sizes on both sides of what RocksDB keeps in tables and moves to blob files.
constexpr size_t kSizes[] = {90'000, 3'000, 1'200'000, 70'000, 300, 40'000};

Contents MakeContents() {
  Contents contents;
  for (uint32_t i = 0; i < 12; ++i) {
    contents.adapters[absl::StrCat("a", i, "@1")] =
        RandomBytes(kSizes[i % 6] / (i < 6 ? 1 : 2), i + 1);
  }
  contents.adapters["a1@2"] = RandomBytes(5'000, 101);
  contents.aliases = {{"a1@prod", "a1@2"}, {"a7@prod", "a7@1"}};
  contents.deleted = {"gone0@1", "gone1@1"};
  return contents;
}

// Fills a store so that all kinds of files hold something: half of it flushed
// into tables and blob files, half still in the log.
absl::Status FillStore(const std::string& path, const Contents& contents) {
  ASSIGN_OR_RETURN(const std::unique_ptr<RocksStore> store,
                   RocksStore::Open(OptionsFor(path)));
  const auto add = [&](const std::string& name) {
    return Store(*store, name.substr(0, name.find('@')),
                 contents.adapters.at(name))
        .status();
  };
  for (int i = 0; i < 6; ++i) {
    RETURN_IF_ERROR(add(absl::StrCat("a", i, "@1")));
  }
  RETURN_IF_ERROR(Store(*store, "gone0", "x").status());
  RETURN_IF_ERROR(store->Flush());
  RETURN_IF_ERROR(store->SetAlias("a1", "prod", 1).status());
  RETURN_IF_ERROR(add("a1@2"));
  RETURN_IF_ERROR(store->Delete(Ref("gone0@1")));
  store->WaitForSweep();
  RETURN_IF_ERROR(store->Flush());
  for (int i = 6; i < 12; ++i) {
    RETURN_IF_ERROR(add(absl::StrCat("a", i, "@1")));
  }
  RETURN_IF_ERROR(store->SetAlias("a7", "prod", 1).status());
  // Content that another name keeps: removing bytes would empty the log.
  RETURN_IF_ERROR(
      Store(*store, "gone1", contents.adapters.at("a3@1")).status());
  RETURN_IF_ERROR(store->SetAlias("a1", "prod", 2).status());
  return store->Delete(Ref("gone1@1"));
}

// "WAL", "SST", "blob", "MANIFEST", "CURRENT", "OPTIONS", "IDENTITY",
// "WITNESS".
std::string KindOf(const fs::path& file) {
  const std::string extension = file.extension();
  const std::string name = file.filename();
  return extension == ".log"    ? "WAL"
         : extension == ".sst"  ? "SST"
         : extension == ".blob" ? "blob"
                                : name.substr(0, name.find('-'));
}

struct Damage {
  std::string file;
  enum class Kind { kFlip, kTruncate, kRemove } kind = Kind::kFlip;
  uint64_t at = 0;  // Bit, or byte from which on it is cut.

  std::string ToString() const {
    return absl::StrCat(file,
                        kind == Kind::kFlip       ? " bit "
                        : kind == Kind::kTruncate ? " cut at "
                                                  : " removed ",
                        at);
  }
};

void Apply(const Damage& damage, const std::string& folder) {
  const fs::path file = fs::path(folder) / damage.file;
  switch (damage.kind) {
    case Damage::Kind::kRemove:
      fs::remove(file);
      return;
    case Damage::Kind::kTruncate:
      fs::resize_file(file, damage.at);
      return;
    case Damage::Kind::kFlip: {
      std::fstream stream(file, std::ios::in | std::ios::out);
      stream.seekg(static_cast<std::streamoff>(damage.at / 8));
      const int byte = stream.get() ^ (1 << (damage.at % 8));
      stream.seekp(static_cast<std::streamoff>(damage.at / 8));
      stream.put(static_cast<char>(byte));
      return;
    }
  }
}

// Says "refused <code>: <message>", "lost <n>", "same", or "WRONG <what>".
std::string LookAt(const std::string& path, const Contents& contents) {
  const absl::StatusOr<std::unique_ptr<RocksStore>> store =
      RocksStore::Open(OptionsFor(path));
  if (!store.ok()) {
    return absl::IsDataLoss(store.status()) &&
                   absl::StrContains(store.status().message(), "registry")
               ? absl::StrCat("refused ", store.status().message())
               : absl::StrCat("WRONG refusal ", store.status().ToString());
  }
  int num_lost = 0;
  for (const auto& [name, bytes] : contents.adapters) {
    const absl::StatusOr<AdapterRecord> record = (*store)->Get(Ref(name));
    const absl::StatusOr<std::string> read =
        record.ok() ? ReadBlob(**store, record->digest)
                    : absl::StatusOr<std::string>(record.status());
    if (read.ok() && *read != bytes) {
      return absl::StrCat("WRONG bytes of ", name);
    }
    if (!read.ok()) {
      ++num_lost;
      if (!absl::IsDataLoss(read.status())) {
        return absl::StrCat("WRONG ", name, ": ", read.status().ToString());
      }
      if (!absl::IsDataLoss((*store)->Get(Ref(name)).status())) {
        return absl::StrCat("WRONG not quarantined: ", name);
      }
    }
  }
  for (const auto& [alias, target] : contents.aliases) {
    const absl::StatusOr<AdapterRecord> record = (*store)->Get(Ref(alias));
    if (record.ok() ? absl::StrCat(record->name, "@", record->version) != target
                    : !absl::IsDataLoss(record.status())) {
      return absl::StrCat("WRONG alias ", alias);
    }
  }
  for (const std::string& name : contents.deleted) {
    if (!absl::IsNotFound((*store)->Get(Ref(name)).status())) {
      return absl::StrCat("WRONG back from the dead: ", name);
    }
  }
  return num_lost == 0 ? "same" : absl::StrCat("lost ", num_lost);
}

// At least `per_kind` cases for every kind of file in `folder`, and the removal
// of each file.
std::vector<Damage> ChooseDamage(const std::string& folder, int per_kind) {
  std::map<std::string, std::vector<fs::path>> kinds;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::file_size(entry) > 0) {  // Not the lock.
      kinds[KindOf(entry.path())].push_back(entry.path());
    }
  }
  std::mt19937_64 random(20);
  std::vector<Damage> cases;
  for (auto& [kind, files] : kinds) {
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      cases.push_back({file.filename(), Damage::Kind::kRemove, 0});
    }
    for (int i = 0; i < per_kind; ++i) {
      const fs::path& file = files[random() % files.size()];
      const uint64_t bytes = fs::file_size(file);
      if (i % 3 == 0) {
        cases.push_back(
            {file.filename(), Damage::Kind::kTruncate, random() % bytes});
      } else {
        cases.push_back(
            {file.filename(), Damage::Kind::kFlip, random() % (8 * bytes)});
      }
    }
  }
  return cases;
}

// Runs the cases from `first` on; says one line for each.
int RunCases(const LineWriter& out, const std::string& original,
             const std::string& copy, const std::vector<Damage>& cases,
             size_t first) {
  const Contents contents = MakeContents();
  for (size_t i = first; i < cases.size(); ++i) {
    fs::remove_all(copy);
    fs::copy(original, copy);
    Apply(cases[i], copy);
    out.Say(LookAt(copy, contents));
  }
  return 0;
}

TEST(DamageTest, IsRefusedOrQuarantinedOrHarmless) {
  TempDir dir;
  const std::string original = dir.path() + "/original";
  ChildProcess filler([&](const LineWriter& out) {
    const absl::Status status = FillStore(original, MakeContents());
    out.Say(status.ToString());
    return 0;
  });
  std::string line;
  ASSERT_TRUE(filler.ReadLine(&line));
  ASSERT_EQ(line, "OK");
  filler.Wait();

  const std::vector<Damage> cases =
      ChooseDamage(original, LongForm() ? 1000 : 65);
  ASSERT_GE(cases.size(), 500u);
  struct Row {
    int refused = 0, lost = 0, same = 0, wrong = 0;
  };
  std::map<std::string, Row> table;
  std::map<std::string, int> messages;
  size_t next = 0;
  while (next < cases.size()) {
    ChildProcess child([&](const LineWriter& out) {
      return RunCases(out, original, dir.path() + "/copy", cases, next);
    });
    while (child.ReadLine(&line)) {
      Row& row = table[KindOf(cases[next].file)];
      row.refused += absl::StartsWith(line, "refused") ? 1 : 0;
      row.lost += absl::StartsWith(line, "lost") ? 1 : 0;
      row.same += line == "same" ? 1 : 0;
      if (absl::StartsWith(line, "WRONG")) {
        ++row.wrong;
        ADD_FAILURE() << cases[next].ToString() << ": " << line;
      } else if (absl::StartsWith(line, "refused")) {
        ++messages[line.substr(0, line.find_first_of(":["))];
      }
      ++next;
    }
    if (const int status = child.Wait(); status != 0) {
      ADD_FAILURE() << cases[next].ToString() << ": died, " << status;
      ++table[KindOf(cases[next].file)].wrong;
      ++next;
    }
  }
  std::printf("%-9s %8s %8s %8s %8s\n", "file", "refused", "lost", "same",
              "wrong");
  for (const auto& [kind, row] : table) {
    std::printf("%-9s %8d %8d %8d %8d\n", kind.c_str(), row.refused, row.lost,
                row.same, row.wrong);
  }
  for (const auto& [message, count] : messages) {
    std::printf("%5d x %s\n", count, message.c_str());
  }
  // The damage must have been felt: in each kind of file that holds data.
  for (const char* kind : {"WAL", "SST", "blob", "MANIFEST", "CURRENT"}) {
    EXPECT_GT(table[kind].refused + table[kind].lost, 0) << kind;
  }
}

}  // namespace
}  // namespace stockpot::testing
