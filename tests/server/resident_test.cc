// ExportRecipe, WarmRecipe, PinRecipe, UnpinRecipe and ListResident over gRPC.

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "base/sha256.h"
#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::testing::HasSubstr;
using testing::TestDaemon;

class ResidentTest : public ::testing::Test {
 protected:
  ResidentTest() {
    for (const char* name : {"facts", "json"}) {
      const auto adapter = daemon_.MakeAdapter(name[0]);
      EXPECT_TRUE(daemon_
                      .Register(TestDaemon::MetadataOf(name, adapter),
                                adapter.safetensors, 1 << 16)
                      .ok());
    }
  }

  static v1::Recipe Mix(float weight) {
    v1::Recipe recipe;
    recipe.add_skills()->set_adapter("facts");
    v1::Skill* json = recipe.add_skills();
    json->set_adapter("json");
    json->set_weight(weight);
    return recipe;
  }

  grpc::Status Pin(const v1::Recipe& recipe, v1::ResolvedRecipe* resolved) {
    grpc::ClientContext context;
    v1::PinRecipeRequest request;
    *request.mutable_recipe() = recipe;
    return daemon_.admin().PinRecipe(&context, request, resolved);
  }
  grpc::Status Unpin(const std::string& digest, v1::ResolvedRecipe* resolved) {
    grpc::ClientContext context;
    v1::UnpinRecipeRequest request;
    request.set_digest(digest);
    return daemon_.admin().UnpinRecipe(&context, request, resolved);
  }
  v1::ListResidentResponse List() {
    grpc::ClientContext context;
    v1::ListResidentResponse response;
    EXPECT_TRUE(daemon_.admin().ListResident(&context, {}, &response).ok());
    return response;
  }

  struct Exported {
    grpc::Status status;
    v1::AdapterMetadata metadata;
    std::string bytes;
  };
  Exported Export(const v1::ExportRecipeRequest& request) {
    Exported exported;
    grpc::ClientContext context;
    auto stream = daemon_.registry().ExportRecipe(&context, request);
    v1::DownloadAdapterResponse response;
    while (stream->Read(&response)) {
      if (response.has_metadata()) {
        exported.metadata = response.metadata();
      } else {
        exported.bytes += response.chunk();
      }
    }
    exported.status = stream->Finish();
    return exported;
  }

  TestDaemon daemon_;
};

TEST_F(ResidentTest, NothingIsResidentUntilItIsUsed) {
  EXPECT_EQ(List().adapters_size(), 0);
  EXPECT_EQ(List().compositions_size(), 0);
}

TEST_F(ResidentTest, WarmedRecipeIsInMemoryAndHeldByNobody) {
  grpc::ClientContext context;
  v1::WarmRecipeRequest request;
  *request.mutable_recipe() = Mix(0.5f);
  v1::ResolvedRecipe resolved;
  ASSERT_TRUE(daemon_.admin().WarmRecipe(&context, request, &resolved).ok());
  EXPECT_EQ(resolved.skills_size(), 2);
  const v1::ListResidentResponse resident = List();
  ASSERT_EQ(resident.adapters_size(), 2);
  EXPECT_EQ(resident.adapters(0).uses(), 0u);
  EXPECT_GT(resident.adapters(0).bytes(), 0u);
  EXPECT_EQ(resident.adapters(0).tier(), "device");
  ASSERT_EQ(resident.compositions_size(), 1);
  EXPECT_EQ(resident.compositions(0).recipe().digest(), resolved.digest());
  EXPECT_FALSE(resident.compositions(0).pinned());
  EXPECT_GT(resident.compositions(0).bytes(), 0u);
}

TEST_F(ResidentTest, PinHoldsTheAdaptersUntilItIsUnpinned) {
  v1::ResolvedRecipe resolved, again, other, unpinned;
  ASSERT_TRUE(Pin(Mix(2), &resolved).ok());
  ASSERT_TRUE(Pin(Mix(2), &again).ok());
  EXPECT_EQ(again.digest(), resolved.digest());
  ASSERT_TRUE(Pin(Mix(3), &other).ok());
  v1::ListResidentResponse resident = List();
  ASSERT_EQ(resident.compositions_size(), 2);
  EXPECT_TRUE(resident.compositions(0).pinned());
  EXPECT_EQ(resident.compositions(0).recipe().skills_size(), 2);
  EXPECT_EQ(resident.adapters(0).uses(), 2u);

  ASSERT_TRUE(Unpin(resolved.digest(), &unpinned).ok());
  EXPECT_EQ(unpinned.digest(), resolved.digest());
  resident = List();
  EXPECT_EQ(resident.adapters(0).uses(), 1u);
  EXPECT_EQ(Unpin(resolved.digest(), &unpinned).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ResidentTest, BadPinsAreRefusedInWords) {
  v1::ResolvedRecipe resolved;
  EXPECT_EQ(Pin(v1::Recipe(), &resolved).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::Recipe unknown;
  unknown.add_skills()->set_adapter("nobody");
  EXPECT_EQ(Pin(unknown, &resolved).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Unpin("prod", &resolved).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(List().compositions_size(), 0);
}

TEST_F(ResidentTest, ExportStreamsMetadataThenTheFile) {
  v1::ExportRecipeRequest request;
  *request.mutable_recipe() = Mix(0.5f);
  request.set_name("mix");
  const Exported exported = Export(request);
  ASSERT_TRUE(exported.status.ok()) << exported.status.error_message();
  EXPECT_EQ(exported.metadata.name(), "mix");
  EXPECT_EQ(exported.metadata.size_bytes(), exported.bytes.size());
  EXPECT_EQ(exported.metadata.sha256(), Sha256::Of(exported.bytes).ToHex());
  EXPECT_THAT(exported.metadata.description(), HasSubstr(exported.bytes));
  EXPECT_THAT(exported.metadata.description(), HasSubstr("cat"));
}

TEST_F(ResidentTest, BadExportsAreRefusedInWords) {
  v1::ExportRecipeRequest request;
  EXPECT_EQ(Export(request).status.error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  *request.mutable_recipe() = Mix(1);
  request.set_name("../x");
  EXPECT_EQ(Export(request).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_saved_recipe("nobody");
  request.clear_name();
  EXPECT_EQ(Export(request).status.error_code(), grpc::StatusCode::NOT_FOUND);
}

// A merge would go on for ever if nobody stopped it.
class StoppedMergeTest : public ResidentTest {
 protected:
  static v1::Recipe Merged() {
    v1::Recipe recipe = Mix(0.5f);
    recipe.mutable_ties();
    return recipe;
  }
  // Cancels `context` once the merge runs, while `call` waits for its end.
  grpc::Status CancelledDuring(grpc::ClientContext* context,
                               const std::function<grpc::Status()>& call) {
    std::thread canceller([&] {
      while (!daemon_.merger().started) {
        absl::SleepFor(absl::Milliseconds(1));
      }
      context->TryCancel();
    });
    const grpc::Status status = call();
    canceller.join();
    return status;
  }
  void ExpectStopped() {
    while (daemon_.merger().stops == 0) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(daemon_.merger().stops, 1);
  }
};

TEST_F(StoppedMergeTest, ACancelledWarmStopsItsMerge) {
  grpc::ClientContext context;
  v1::WarmRecipeRequest request;
  *request.mutable_recipe() = Merged();
  v1::ResolvedRecipe resolved;
  EXPECT_EQ(CancelledDuring(&context,
                            [&] {
                              return daemon_.admin().WarmRecipe(
                                  &context, request, &resolved);
                            })
                .error_code(),
            grpc::StatusCode::CANCELLED);
  ExpectStopped();
}

TEST_F(StoppedMergeTest, ACancelledGenerateStopsItsMerge) {
  grpc::ClientContext context;
  v1::GenerateRequest request = TestDaemon::Letters("ab", 2);
  *request.mutable_recipe() = Merged();
  EXPECT_EQ(CancelledDuring(&context,
                            [&] {
                              auto stream = daemon_.generation().Generate(
                                  &context, request);
                              v1::GenerateResponse response;
                              while (stream->Read(&response)) {
                              }
                              return stream->Finish();
                            })
                .error_code(),
            grpc::StatusCode::CANCELLED);
  ExpectStopped();
}

TEST_F(StoppedMergeTest, ACancelledExportStopsItsMerge) {
  grpc::ClientContext context;
  v1::ExportRecipeRequest request;
  *request.mutable_recipe() = Merged();
  EXPECT_EQ(CancelledDuring(&context,
                            [&] {
                              auto stream = daemon_.registry().ExportRecipe(
                                  &context, request);
                              v1::DownloadAdapterResponse response;
                              while (stream->Read(&response)) {
                              }
                              return stream->Finish();
                            })
                .error_code(),
            grpc::StatusCode::CANCELLED);
  ExpectStopped();
}

TEST_F(StoppedMergeTest, AGeneratePastItsDeadlineStopsItsMerge) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(50));
  v1::GenerateRequest request = TestDaemon::Letters("ab", 2);
  *request.mutable_recipe() = Merged();
  auto stream = daemon_.generation().Generate(&context, request);
  v1::GenerateResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  if (daemon_.merger().started) ExpectStopped();
}

}  // namespace
}  // namespace stockpot
