// Writes the database that tests/registry/upgrade_test.cc opens with later
// code: one of everything that this build's format knows.
//
//   make_golden_store FOLDER
//
// Build it from the release whose format is to be kept: the files of format 1
// come from the code before saved recipes, those of format2 from the code whose
// seal covered manifests and aliases alone.

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "base/status_macros.h"
#include "registry/adapter_store.h"
#include "registry/recipe_store.h"
#include "registry/rocks_store.h"
#include "tests/registry/store_fixture.h"

namespace stockpot::testing {
namespace {

// Two versions, one of them deleted, and an alias.
absl::Status SaveRecipes(RocksStore& store) {
  ASSIGN_OR_RETURN(const AdapterRecord adapter, store.Get(Ref("copy")));
  RecipeSpec spec;
  spec.name = "blend";
  spec.description = "answers in two voices";
  spec.adapters = {adapter.digest};
  for (const char* recipe : {"first", "second"}) {
    spec.recipe = recipe;
    RETURN_IF_ERROR(store.recipes().Save(spec).status());
  }
  RETURN_IF_ERROR(store.recipes().SetAlias("blend", "prod", 1).status());
  return store.recipes().Delete(Ref("blend@2"));
}

absl::Status MakeGoldenStore(const std::string& path) {
  RocksStoreOptions options;
  options.path = path;
  options.clock = [] { return absl::FromUnixSeconds(1'700'000'000); };
  options.undelete_window = absl::Hours(1);
  ASSIGN_OR_RETURN(const std::unique_ptr<RocksStore> store,
                   RocksStore::Open(std::move(options)));
  // Beyond 64 KiB, so that a blob file is among the files.
  const std::string big = RandomBytes(66'000, 1);
  UploadSpec spec = SpecFor("sql", big);
  spec.labels = {{"team", "demo"}};
  spec.description = "answers in SQL";
  spec.card = "# SQL";
  RETURN_IF_ERROR(Store(*store, spec, big).status());
  RETURN_IF_ERROR(Store(*store, "sql", "two").status());
  RETURN_IF_ERROR(Store(*store, "sql", "three").status());
  RETURN_IF_ERROR(Store(*store, "copy", "two").status());
  RETURN_IF_ERROR(store->SetAlias("sql", "prod", 1).status());
  RETURN_IF_ERROR(store->SetAlias("sql", "canary", 2).status());
  RETURN_IF_ERROR(SaveRecipes(*store));
  RETURN_IF_ERROR(Store(*store, "gone", "to be purged").status());
  RETURN_IF_ERROR(store->Purge(Ref("gone@1")));
  RETURN_IF_ERROR(store->Flush());
  // These stay in the log.
  RETURN_IF_ERROR(Store(*store, "tail", "in the log").status());
  return store->Delete(Ref("sql@3"));
}

}  // namespace
}  // namespace stockpot::testing

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_golden_store FOLDER\n");
    return 2;
  }
  const absl::Status status = stockpot::testing::MakeGoldenStore(argv[1]);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
  }
  return status.ok() ? 0 : 1;
}
