// register, download, list, show, rm and alias against a fake server.

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "tests/client/fake_stockpotd.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr size_t kMiB = size_t{1} << 20;

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class AdapterCommandsTest : public ::testing::Test {
 protected:
  AdapterCommandsTest() : weights_(2 * kMiB + 12345, '\0') {
    for (size_t i = 0; i < weights_.size(); ++i) {
      weights_[i] = static_cast<char>(i * 2654435761U >> 13);
    }
    std::filesystem::create_directory(directory_);
    std::ofstream(directory_ + "/adapter_config.json") << R"({"r": 8})";
    std::ofstream(directory_ + "/adapter_model.safetensors", std::ios::binary)
        << weights_;
  }

  v1::Adapter& AddAdapter(const std::string& name, int64_t version) {
    v1::Adapter& adapter = daemon_.registry.adapters.emplace_back();
    adapter.set_name(name);
    adapter.set_version(version);
    adapter.set_size_bytes(3 * kMiB);
    adapter.set_min_rank(8);
    adapter.set_max_rank(8);
    adapter.mutable_create_time()->set_seconds(1'700'000'000);
    return adapter;
  }

  // Answers downloads with `weights_`; `sent` are the bytes sent in truth.
  void OfferDownload(const std::string& sent) {
    v1::AdapterMetadata* metadata =
        daemon_.registry.download.emplace_back().mutable_metadata();
    metadata->set_name("facts");
    metadata->set_version(3);
    metadata->set_size_bytes(weights_.size());
    metadata->set_sha256(Sha256::Of(weights_).ToHex());
    metadata->set_adapter_config(R"({"r": 8})");
    for (size_t i = 0; i < sent.size(); i += kMiB) {
      daemon_.registry.download.emplace_back().set_chunk(sent.substr(i, kMiB));
    }
  }

  TempDir temp_;
  const std::string directory_ = temp_.path() + "/facts";
  const std::string target_ = temp_.path() + "/target";
  std::string weights_;
  FakeStockpotd daemon_;
};

TEST_F(AdapterCommandsTest, RegisterSendsMetadataFirstThenSmallChunks) {
  std::ofstream(temp_.path() + "/card.md") << "# Facts";
  const CommandResult result = RunStockpot(
      daemon_, {"register", directory_, "--label", "team=demo", "--label",
                "tier=a=b", "--description", "about", "--card",
                temp_.path() + "/card.md", "--version", "7"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const auto& upload = daemon_.registry.upload;
  ASSERT_EQ(upload.size(), 4U);
  ASSERT_TRUE(upload[0].has_metadata());
  const v1::AdapterMetadata& metadata = upload[0].metadata();
  EXPECT_EQ(metadata.name(), "facts");
  EXPECT_EQ(metadata.version(), 7);
  EXPECT_EQ(metadata.size_bytes(), weights_.size());
  EXPECT_EQ(metadata.sha256(), Sha256::Of(weights_).ToHex());
  EXPECT_EQ(metadata.adapter_config(), R"({"r": 8})");
  EXPECT_EQ(metadata.description(), "about");
  EXPECT_EQ(metadata.card(), "# Facts");
  EXPECT_THAT(metadata.labels(),
              UnorderedElementsAre(Pair("team", "demo"), Pair("tier", "a=b")));
  std::string sent;
  for (size_t i = 1; i < upload.size(); ++i) {
    EXPECT_TRUE(upload[i].has_chunk());
    EXPECT_LE(upload[i].chunk().size(), kMiB);
    sent += upload[i].chunk();
  }
  EXPECT_TRUE(sent == weights_);
  EXPECT_EQ(result.out, absl::StrCat("facts@7  ", Sha256::Of(weights_).ToHex(),
                                     "  2.0 MiB  rank 4-8  q_proj,v_proj\n"));
  EXPECT_THAT(result.err, IsEmpty());  // No bar where there is no terminal.
}

TEST_F(AdapterCommandsTest, RegisterLeavesTheVersionToTheServer) {
  ASSERT_EQ(RunStockpot(daemon_, {"register", directory_}).code, kExitOk);
  EXPECT_FALSE(daemon_.registry.upload[0].metadata().has_version());
}

TEST_F(AdapterCommandsTest, RegisterSetsTheAliasOfWhatItRegistered) {
  const CommandResult result = RunStockpot(
      daemon_,
      {"register", directory_, "--name", "other", "--alias", "prod", "--json"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  ASSERT_EQ(daemon_.registry.set_aliases.size(), 1U);
  EXPECT_EQ(daemon_.registry.set_aliases[0].name(), "other");
  EXPECT_EQ(daemon_.registry.set_aliases[0].alias(), "prod");
  EXPECT_EQ(daemon_.registry.set_aliases[0].version(), 1);
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["name"], "other");
  EXPECT_EQ(json["aliases"][0], "prod");
  EXPECT_EQ(json["already_stored"], false);
}

TEST_F(AdapterCommandsTest, RegisterDrawsItsBarOnATerminalOnly) {
  const CommandResult result =
      RunStockpot(daemon_, {"register", directory_}, {.err_is_terminal = true});
  ASSERT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.err, AllOf(HasSubstr("hashing"), HasSubstr("uploading"),
                                ::testing::EndsWith("\r\x1b[K")));
}

TEST_F(AdapterCommandsTest, RegisterReportsWhatTheServerSaysMidway) {
  daemon_.registry.upload_status =
      grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "facts@1 is other bytes");
  const CommandResult result = RunStockpot(daemon_, {"register", directory_});
  EXPECT_EQ(result.code, kExitAlreadyExists);
  EXPECT_THAT(result.err, HasSubstr("stockpot: ALREADY_EXISTS: facts@1 is "
                                    "other bytes"));
  EXPECT_THAT(result.out, IsEmpty());
}

TEST_F(AdapterCommandsTest, RegisterRefusesBeforeItCalls) {
  EXPECT_EQ(RunStockpot(daemon_, {"register", temp_.path() + "/none"}).code,
            kExitNotFound);
  EXPECT_EQ(
      RunStockpot(daemon_, {"register", directory_, "--name", "Big"}).code,
      kExitInvalidArgument);
  EXPECT_EQ(RunStockpot(daemon_, {"register", directory_, "--label", "x"}).code,
            kExitInvalidArgument);
  std::filesystem::rename(directory_ + "/adapter_model.safetensors",
                          directory_ + "/adapter_model.bin");
  const CommandResult pickle = RunStockpot(daemon_, {"register", directory_});
  EXPECT_EQ(pickle.code, kExitInvalidArgument);
  EXPECT_THAT(pickle.err, HasSubstr("convert it to safetensors"));
  EXPECT_THAT(daemon_.registry.upload, IsEmpty());
}

TEST_F(AdapterCommandsTest, DownloadWritesTheVeryBytes) {
  OfferDownload(weights_);
  const CommandResult result =
      RunStockpot(daemon_, {"download", "facts@prod", target_});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_TRUE(ReadAll(target_ + "/adapter_model.safetensors") == weights_);
  EXPECT_EQ(ReadAll(target_ + "/adapter_config.json"), R"({"r": 8})");
  EXPECT_THAT(result.out, HasSubstr("facts@3"));
  // Not twice into the same place.
  EXPECT_EQ(RunStockpot(daemon_, {"download", "facts", target_}).code,
            kExitAlreadyExists);
  EXPECT_EQ(
      RunStockpot(daemon_, {"download", "facts", target_, "--force"}).code,
      kExitOk);
}

TEST_F(AdapterCommandsTest, DownloadOfOtherBytesLeavesNoFile) {
  std::string wrong = weights_;
  wrong[100] ^= 1;
  for (const std::string& sent :
       {wrong, weights_ + "x", weights_.substr(0, kMiB), std::string()}) {
    daemon_.registry.download.clear();
    OfferDownload(sent);
    const CommandResult result =
        RunStockpot(daemon_, {"download", "facts", target_});
    EXPECT_EQ(result.code, kExitFailure);
    EXPECT_THAT(result.err, HasSubstr("DATA_LOSS"));
    EXPECT_TRUE(std::filesystem::is_empty(target_));
  }
}

TEST_F(AdapterCommandsTest, DownloadOfNothingMakesNoDirectory) {
  const CommandResult result =
      RunStockpot(daemon_, {"download", "nobody", target_});
  EXPECT_EQ(result.code, kExitNotFound);
  EXPECT_THAT(result.err, HasSubstr("no adapter 'nobody'"));
  EXPECT_FALSE(std::filesystem::exists(target_));
}

TEST_F(AdapterCommandsTest, ListGoesThroughAllPages) {
  for (int i = 1; i <= 5; ++i) {
    AddAdapter(absl::StrCat("skill", i), i);
  }
  (*daemon_.registry.adapters[0].mutable_labels())["team"] = "demo";
  const CommandResult result = RunStockpot(
      daemon_,
      {"list", "--prefix", "sk", "--label", "team=demo", "--all-versions"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_EQ(lines.size(), 7U);  // Header, five, and the end.
  EXPECT_THAT(lines[0], HasSubstr("NAME    VERSION"));
  EXPECT_THAT(lines[1],
              AllOf(HasSubstr("skill1"), HasSubstr("3.0 MiB"),
                    HasSubstr("2023-11-14T22:13:20Z"), HasSubstr("team=demo")));
  EXPECT_THAT(lines[5], HasSubstr("skill5"));
  ASSERT_EQ(daemon_.registry.lists.size(), 3U);
  for (const v1::ListAdaptersRequest& request : daemon_.registry.lists) {
    EXPECT_EQ(request.name_prefix(), "sk");
    EXPECT_TRUE(request.all_versions());
    EXPECT_THAT(request.labels(), ElementsAre(Pair("team", "demo")));
  }
}

TEST_F(AdapterCommandsTest, ListSendsItsFilter) {
  ASSERT_EQ(RunStockpot(daemon_, {"list", "--min-rank", "4", "--max-rank", "8",
                                  "--since", "2026-11-21", "--before",
                                  "2026-11-22", "--target", "q_proj",
                                  "--target", "v_proj", "--base-model", "b",
                                  "--text", "sql", "--max-bytes", "9"})
                .code,
            kExitOk);
  const v1::AdapterFilter& filter = daemon_.registry.lists.back().filter();
  EXPECT_EQ(filter.min_rank(), 4U);
  EXPECT_EQ(filter.max_rank(), 8U);
  EXPECT_EQ(filter.max_size_bytes(), 9U);
  EXPECT_EQ(filter.created_before().seconds() - filter.created_from().seconds(),
            24 * 3600);
  EXPECT_THAT(filter.target_modules(), ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(filter.base_model(), "b");
  EXPECT_EQ(filter.text(), "sql");
  EXPECT_EQ(RunStockpot(daemon_, {"list", "--since", "yesterday"}).code,
            kExitInvalidArgument);
}

TEST_F(AdapterCommandsTest, ListJsonIsOneObjectPerLine) {
  AddAdapter("a", 1);
  AddAdapter("b", 2);
  AddAdapter("c", 3);
  const CommandResult result = RunStockpot(daemon_, {"list", "--json"});
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(nlohmann::json::parse(lines[2])["name"], "c");
  EXPECT_EQ(nlohmann::json::parse(lines[2])["version"], 3);
}

TEST_F(AdapterCommandsTest, EmptyListSaysSoBesideTheOutput) {
  const CommandResult result = RunStockpot(daemon_, {"list"});
  EXPECT_EQ(result.code, kExitOk);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("no adapters"));
}

TEST_F(AdapterCommandsTest, ShowHasTheCardAndNoControlCharacters) {
  v1::Adapter& adapter = AddAdapter("facts", 2);
  adapter.set_description("evil \x1b[2J");
  adapter.set_card("# Card");
  const CommandResult text = RunStockpot(daemon_, {"show", "facts@2"});
  ASSERT_EQ(text.code, kExitOk);
  EXPECT_THAT(text.out, AllOf(HasSubstr("name         facts\n"),
                              HasSubstr("# Card"), Not(HasSubstr("\x1b"))));
  const auto json = nlohmann::json::parse(
      RunStockpot(daemon_, {"show", "facts", "--json"}).out);
  EXPECT_EQ(json["card"], "# Card");
  EXPECT_EQ(json["size_bytes"], 3 * kMiB);
  EXPECT_EQ(RunStockpot(daemon_, {"show", "nobody"}).code, kExitNotFound);
}

v1::ModuleInspection& AddModule(v1::Adapter& adapter, const std::string& path,
                                double norm) {
  v1::ModuleInspection& module = *adapter.mutable_inspection()->add_modules();
  module.set_module(path);
  module.set_rank(8);
  module.set_frobenius_norm(norm);
  module.set_spectral_norm(norm / 2);
  module.set_stable_rank(4);
  module.set_effective_rank(6.25);
  module.set_k90(5);
  return module;
}

TEST_F(AdapterCommandsTest, ShowHasTheInspectionByTargetOrByModule) {
  v1::Adapter& adapter = AddAdapter("facts", 2);
  AddModule(adapter, "layers.10.q_proj", 1.5);
  AddModule(adapter, "layers.2.q_proj", 2.5).set_dead_ranks(3);
  v1::ModuleInspection& zero = AddModule(adapter, "layers.2.v_proj", 0);
  zero.set_zero(true);
  zero.set_dead_ranks(8);
  adapter.mutable_inspection()->set_num_zero_modules(1);
  const CommandResult grouped = RunStockpot(daemon_, {"show", "facts"});
  EXPECT_THAT(
      grouped.out,
      AllOf(HasSubstr("TARGET  MODULES  RANK  NORM  STABLE RANK  "
                      "EFFECTIVE RANK  K90  DEAD  ZERO\n"),
            HasSubstr("q_proj        2     8     2            4            "
                      "6.25    5     3     0\n"),
            HasSubstr("v_proj        1     8     0            0               "
                      "0    0     0     1\n"),
            HasSubstr("1 of 3 modules are untrained: their B is all zero\n"),
            HasSubstr("3 of 16 ranks of the others are dead")));
  const CommandResult each = RunStockpot(daemon_, {"show", "facts", "--all"});
  EXPECT_LT(each.out.find("layers.2.q_proj"), each.out.find("layers.2.v_proj"));
  EXPECT_LT(each.out.find("layers.2.v_proj"),
            each.out.find("layers.10.q_proj"));
  EXPECT_THAT(each.out, HasSubstr("8     0            4            6.25    5"
                                  "     8  yes\n"));
  const auto json = nlohmann::json::parse(
      RunStockpot(daemon_, {"show", "facts", "--json"}).out);
  EXPECT_EQ(json["inspection"]["num_zero_modules"], 1);
  EXPECT_EQ(json["inspection"]["modules"][1]["dead_ranks"], 3);
  EXPECT_EQ(json["inspection"]["modules"][2]["zero"], true);
}

TEST_F(AdapterCommandsTest, ShowSaysWhatIsWrongWithTheWholeAdapter) {
  v1::Adapter& adapter = AddAdapter("facts", 2);
  AddModule(adapter, "layers.2.v_proj", 0).set_zero(true);
  const std::string untrained = RunStockpot(daemon_, {"show", "facts"}).out;
  EXPECT_THAT(untrained, HasSubstr("untrained: B is all zero in every module"));
  EXPECT_THAT(untrained, Not(HasSubstr("dead:")));
  adapter.mutable_inspection()->clear_modules();
  EXPECT_THAT(RunStockpot(daemon_, {"show", "facts"}).out,
              HasSubstr("nothing to inspect"));
  AddModule(adapter, "layers.2.v_proj", 1);
  EXPECT_THAT(RunStockpot(daemon_, {"show", "facts"}).out,
              AllOf(Not(HasSubstr("untrained")), Not(HasSubstr("dead:"))));
}

TEST_F(AdapterCommandsTest, RmDeletesTheVersionThatAnAliasMeans) {
  AddAdapter("facts", 2).add_aliases("prod");
  const CommandResult result =
      RunStockpot(daemon_, {"rm", "facts@prod", "--yes"});
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "deleted facts@2\n");
  EXPECT_THAT(result.err, AllOf(HasSubstr("2023-11-14T22:13:20Z"),
                                HasSubstr("stockpot undelete facts@2")));
  EXPECT_THAT(daemon_.registry.deleted, ElementsAre("facts@2"));
}

TEST_F(AdapterCommandsTest, RmAsksOnATerminal) {
  AddAdapter("facts", 2);
  const CommandResult no = RunStockpot(daemon_, {"rm", "facts@2"},
                                       {.in = "\n", .in_is_terminal = true});
  EXPECT_EQ(no.code, kExitCancelled);
  EXPECT_THAT(no.err, HasSubstr("delete facts@2"));
  EXPECT_THAT(daemon_.registry.deleted, IsEmpty());
  const CommandResult yes = RunStockpot(daemon_, {"rm", "facts@2"},
                                        {.in = "y\n", .in_is_terminal = true});
  EXPECT_EQ(yes.code, kExitOk);
  EXPECT_THAT(daemon_.registry.deleted, ElementsAre("facts@2"));
}

TEST_F(AdapterCommandsTest, RmPurgesAlsoWhatIsDeletedAlready) {
  const CommandResult unknown = RunStockpot(daemon_, {"rm", "facts@2", "-y"});
  EXPECT_EQ(unknown.code, kExitNotFound);
  const CommandResult result =
      RunStockpot(daemon_, {"rm", "facts@2", "-y", "--purge"});
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "purged facts@2\n");
  EXPECT_THAT(result.err, IsEmpty());
  EXPECT_THAT(daemon_.registry.purged, ElementsAre("facts@2"));
  EXPECT_THAT(daemon_.registry.deleted, IsEmpty());
}

TEST_F(AdapterCommandsTest, UndeleteBringsBackAndListShowsWhatItCan) {
  const CommandResult result = RunStockpot(daemon_, {"undelete", "facts@2"});
  EXPECT_EQ(result.code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "restored facts@2\n");
  EXPECT_THAT(daemon_.registry.undeleted, ElementsAre("facts@2"));
  EXPECT_THAT(RunStockpot(daemon_, {"list", "--deleted"}).err,
              HasSubstr("nothing is deleted"));
  EXPECT_TRUE(daemon_.registry.lists.back().deleted());
}

TEST_F(AdapterCommandsTest, AliasIsSetAndRemoved) {
  AddAdapter("facts", 2);
  const CommandResult set =
      RunStockpot(daemon_, {"alias", "facts", "prod", "2"});
  EXPECT_EQ(set.code, kExitOk) << set.err;
  EXPECT_EQ(set.out, "facts@prod -> facts@2\n");
  EXPECT_EQ(RunStockpot(daemon_, {"alias", "facts", "prod", "9"}).code,
            kExitNotFound);
  EXPECT_EQ(RunStockpot(daemon_, {"alias", "--rm", "facts", "prod"}).code,
            kExitOk);
  ASSERT_EQ(daemon_.registry.deleted_aliases.size(), 1U);
  EXPECT_EQ(daemon_.registry.deleted_aliases[0].alias(), "prod");
}

}  // namespace
}  // namespace stockpot::testing
