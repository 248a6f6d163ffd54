// register of several directories at once, against a fake server.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "base/mutex.h"
#include "client/interrupt.h"
#include "tests/client/fake_stockpotd.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

// Counts uploads that are there at once, and holds them until enough are.
class Gate {
 public:
  explicit Gate(int num_expected) : num_expected_(num_expected) {}

  void Pass() {
    MutexLock lock(&mu_);
    most_ = std::max(most_, ++num_inside_);
    ++num_arrived_;
    changed_.SignalAll();
    while (num_arrived_ < num_expected_) {
      changed_.Wait(&mu_);
    }
    --num_inside_;
  }
  int most() {
    MutexLock lock(&mu_);
    return most_;
  }

 private:
  const int num_expected_;
  Mutex mu_;
  CondVar changed_;
  int num_inside_ ABSL_GUARDED_BY(mu_) = 0;
  int num_arrived_ ABSL_GUARDED_BY(mu_) = 0;
  int most_ ABSL_GUARDED_BY(mu_) = 0;
};

class RegisterSeveralTest : public ::testing::Test {
 protected:
  std::string AddDirectory(const std::string& name) {
    const std::string directory = temp_.path() + "/" + name;
    std::filesystem::create_directories(directory);
    std::ofstream(directory + "/adapter_config.json") << R"({"r": 8})";
    std::ofstream(directory + "/adapter_model.safetensors") << "of " << name;
    return directory;
  }
  // What was uploaded whole, in any order.
  std::vector<std::string> Uploaded() {
    std::vector<std::string> names;
    for (const v1::RegisterAdapterRequest& request : daemon_.registry.upload) {
      if (request.has_metadata()) {
        names.push_back(request.metadata().name());
      }
    }
    return names;
  }
  // The first word of each line.
  static std::vector<std::string> Names(const std::string& out) {
    std::vector<std::string> names;
    for (absl::string_view line :
         absl::StrSplit(out, '\n', absl::SkipEmpty())) {
      names.push_back(std::vector<std::string>(absl::StrSplit(line, ' '))[0]);
    }
    return names;
  }

  TempDir temp_;
  const std::string a_ = AddDirectory("a");
  const std::string b_ = AddDirectory("b");
  const std::string c_ = AddDirectory("c");
  FakeStockpotd daemon_;
};

TEST_F(RegisterSeveralTest, EachHasTheNameOfItsDirectory) {
  const CommandResult result = RunStockpot(
      daemon_, {"register", c_, a_, b_ + "/", "--label", "team=demo", "--alias",
                "prod", "--description", "all of them"});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_THAT(Uploaded(), UnorderedElementsAre("a", "b", "c"));
  for (const v1::RegisterAdapterRequest& request : daemon_.registry.upload) {
    if (request.has_metadata()) {
      EXPECT_EQ(request.metadata().labels().at("team"), "demo");
      EXPECT_EQ(request.metadata().description(), "all of them");
      EXPECT_FALSE(request.metadata().has_version());
    } else {
      EXPECT_THAT(request.chunk(), StartsWith("of "));
    }
  }
  // In the order that they were given in, whichever ended first.
  EXPECT_THAT(Names(result.out), ElementsAre("c@1", "a@1", "b@1"));
  EXPECT_EQ(daemon_.registry.set_aliases.size(), 3U);
  EXPECT_THAT(result.err, IsEmpty());
}

TEST_F(RegisterSeveralTest, JobsSaysHowManyAtOnce) {
  const std::string d = AddDirectory("d");
  for (const int jobs : {0, 1, 3}) {  // 0: not given.
    const int expected = jobs == 0 ? 2 : jobs;
    Gate gate(expected);
    daemon_.registry.on_upload = [&](const v1::AdapterMetadata& /*metadata*/) {
      gate.Pass();
      return grpc::Status::OK;
    };
    std::vector<std::string> args = {"register", a_, b_, c_, d};
    if (jobs > 0) {
      args.insert(args.end(), {"--jobs", absl::StrCat(jobs)});
    }
    EXPECT_EQ(RunStockpot(daemon_, args).code, kExitOk);
    EXPECT_EQ(gate.most(), expected);
  }
  for (const char* jobs : {"0", "17", "x"}) {
    EXPECT_EQ(RunStockpot(daemon_, {"register", a_, b_, "--jobs", jobs}).code,
              kExitUsage);
  }
}

TEST_F(RegisterSeveralTest, AllAreTriedAndTheFirstFailureGivesTheExitCode) {
  daemon_.registry.on_upload = [](const v1::AdapterMetadata& metadata) {
    return metadata.name() == "c"
               ? grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full")
               : grpc::Status::OK;
  };
  const std::string none = temp_.path() + "/none";
  const CommandResult result =
      RunStockpot(daemon_, {"register", a_, none, c_, b_, "--json"});
  EXPECT_EQ(result.code, kExitNotFound);
  EXPECT_THAT(Uploaded(), UnorderedElementsAre("a", "b"));
  std::vector<std::string> names;
  for (absl::string_view line :
       absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
    names.push_back(nlohmann::json::parse(line)["name"]);
  }
  EXPECT_THAT(names, ElementsAre("a", "b"));
  EXPECT_THAT(result.err,
              AllOf(HasSubstr(none + ": NOT_FOUND: "),
                    HasSubstr(c_ + ": RESOURCE_EXHAUSTED: full\n"),
                    HasSubstr("stockpot: NOT_FOUND: 2 of 4 directories are "
                              "not registered")));
}

TEST_F(RegisterSeveralTest, WhatFitsOneOnlyIsRefused) {
  for (const char* option : {"--name", "--version", "--signature"}) {
    const CommandResult result =
        RunStockpot(daemon_, {"register", a_, b_, option, "7"});
    EXPECT_EQ(result.code, kExitInvalidArgument) << option;
    EXPECT_THAT(result.err,
                HasSubstr(absl::StrCat(option, " is for one directory")));
  }
  const std::string other = AddDirectory("other/a");
  const CommandResult twice = RunStockpot(daemon_, {"register", a_, b_, other});
  EXPECT_EQ(twice.code, kExitInvalidArgument);
  EXPECT_THAT(twice.err, HasSubstr(absl::StrCat(a_, " and ", other,
                                                " would both be called 'a'")));
  EXPECT_THAT(daemon_.registry.upload, IsEmpty());
}

TEST_F(RegisterSeveralTest, LinesOfOneCarryItsDirectory) {
  bool broke = false;
  Mutex mu;
  daemon_.registry.on_upload = [&](const v1::AdapterMetadata& metadata) {
    MutexLock lock(&mu);
    if (metadata.name() == "b" && !broke) {
      broke = true;
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
    }
    return grpc::Status::OK;
  };
  const CommandResult result =
      RunStockpot(daemon_, {"register", a_, b_}, {.err_is_terminal = true});
  ASSERT_EQ(result.code, kExitOk) << result.err;
  EXPECT_THAT(result.err,
              AllOf(StartsWith(b_ + ": the upload broke off (UNAVAILABLE"),
                    Not(HasSubstr("uploading"))));
  EXPECT_THAT(Names(result.out), ElementsAre("a@1", "b@1"));
}

TEST_F(RegisterSeveralTest, CtrlCCancelsThoseUnderWayAndBeginsNoOther) {
  Gate arrived(2);
  Gate triggered(2);
  Interrupt interrupt;
  bool had_calls = false;
  daemon_.registry.on_upload = [&](const v1::AdapterMetadata& metadata) {
    arrived.Pass();
    if (metadata.name() == "a") {
      had_calls = interrupt.Trigger();
    }
    triggered.Pass();
    return grpc::Status::OK;  // Nobody hears it.
  };
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunStockpot(daemon_, {"register", a_, b_, c_}, out, err, interrupt),
            kExitCancelled);
  EXPECT_TRUE(had_calls);
  EXPECT_EQ(arrived.most(), 2);
  EXPECT_THAT(
      err.str(),
      AllOf(HasSubstr(a_ + ": CANCELLED"), HasSubstr(b_ + ": CANCELLED"),
            HasSubstr("3 of 3 directories"), Not(HasSubstr(c_ + ":"))));
}

}  // namespace
}  // namespace stockpot::testing
