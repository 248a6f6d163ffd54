// Saved recipes over the wire, and calls that use them.

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/server/test_daemon.h"

namespace stockpot {
namespace {

using ::stockpot::testing::TestDaemon;
using ::stockpot::testing::TinyAdapter;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kFailedPrecondition = grpc::StatusCode::FAILED_PRECONDITION;
constexpr auto kInvalid = grpc::StatusCode::INVALID_ARGUMENT;
constexpr auto kNotFound = grpc::StatusCode::NOT_FOUND;

class SavedRecipeTest : public ::testing::Test {
 protected:
  SavedRecipeTest() {
    Register("facts", 1);
    Register("json", 2);
  }

  void Register(const std::string& name, uint64_t seed) {
    const TinyAdapter adapter = daemon_.MakeAdapter(seed);
    ASSERT_TRUE(daemon_
                    .Register(TestDaemon::MetadataOf(name, adapter),
                              adapter.safetensors, 1 << 20)
                    .ok());
  }
  static void AddSkill(v1::Recipe* recipe, const std::string& adapter,
                       float weight) {
    v1::Skill* skill = recipe->add_skills();
    skill->set_adapter(adapter);
    skill->set_weight(weight);
  }
  grpc::Status Save(const v1::SaveRecipeRequest& request,
                    v1::SavedRecipe* response) {
    grpc::ClientContext context;
    return daemon_.registry().SaveRecipe(&context, request, response);
  }
  grpc::Status Get(const std::string& name, v1::SavedRecipe* response) {
    grpc::ClientContext context;
    v1::GetRecipeRequest request;
    request.set_name(name);
    return daemon_.registry().GetRecipe(&context, request, response);
  }
  grpc::Status DeleteAdapter(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteAdapterRequest request;
    request.set_adapter(name);
    v1::DeleteAdapterResponse response;
    return daemon_.registry().DeleteAdapter(&context, request, &response);
  }
  // "facts=1,json=0.5", as version 1 of "mix".
  v1::SavedRecipe SaveMix() {
    v1::SaveRecipeRequest request;
    request.set_name("mix");
    AddSkill(request.mutable_recipe(), "facts", 1);
    AddSkill(request.mutable_recipe(), "json@1", 0.5F);
    v1::SavedRecipe saved;
    const grpc::Status status = Save(request, &saved);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return saved;
  }

  TestDaemon daemon_;
};

TEST_F(SavedRecipeTest, IsServedAsTheSameRecipeInlineIs) {
  const v1::SavedRecipe saved = SaveMix();
  v1::GenerateRequest request = TestDaemon::Letters("a", 3);
  request.set_saved_recipe("mix");
  const auto answer = daemon_.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "bcd");
  AddSkill(request.mutable_recipe(), "json", 0.5F);
  AddSkill(request.mutable_recipe(), "facts", 1);
  const auto inline_answer = daemon_.Generate(request);
  ASSERT_TRUE(inline_answer.status.ok());
  EXPECT_EQ(answer.finishes[0].recipe().digest(),
            inline_answer.finishes[0].recipe().digest());
  EXPECT_EQ(saved.resolved().digest(), answer.finishes[0].recipe().digest());
}

TEST_F(SavedRecipeTest, KeepsItsMeaningWhenNamesMoveOn) {
  const v1::SavedRecipe saved = SaveMix();
  for (const v1::Skill& skill : saved.recipe().skills()) {
    EXPECT_THAT(skill.adapter(), ::testing::StartsWith("sha256:"));
    EXPECT_TRUE(skill.has_weight());
  }
  EXPECT_TRUE(saved.recipe().has_cat());
  Register("facts", 3);  // Version 2.
  Register("also", 1);   // Another name of facts@1.
  v1::GenerateRequest request = TestDaemon::Letters("a", 1);
  request.set_saved_recipe("mix@1");
  const auto answer = daemon_.Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  std::vector<std::string> names;
  for (const v1::ResolvedSkill& skill : answer.finishes[0].recipe().skills()) {
    names.push_back(absl::StrCat(skill.name(), "@", skill.version()));
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("facts@1", "json@1"));
}

TEST_F(SavedRecipeTest, TheOrderOfItsSkillsMakesNoNewVersion) {
  SaveMix();
  v1::SaveRecipeRequest request;
  request.set_name("mix");
  AddSkill(request.mutable_recipe(), "json", 0.5F);
  request.mutable_recipe()->add_skills()->set_adapter("facts@1");
  v1::SavedRecipe saved;
  ASSERT_TRUE(Save(request, &saved).ok());
  EXPECT_EQ(saved.version(), 1);
  AddSkill(request.mutable_recipe(), "facts", 0.25F);
  ASSERT_TRUE(Save(request, &saved).ok());
  EXPECT_EQ(saved.version(), 2);
}

TEST_F(SavedRecipeTest, AliasesListingAndDelete) {
  SaveMix();
  v1::SavedRecipe saved;
  {
    grpc::ClientContext context;
    v1::SetAliasRequest request;
    request.set_name("mix");
    request.set_alias("prod");
    request.set_version(1);
    ASSERT_TRUE(
        daemon_.registry().SetRecipeAlias(&context, request, &saved).ok());
    EXPECT_THAT(saved.aliases(), ElementsAre("prod"));
  }
  {
    grpc::ClientContext context;
    v1::ListRecipesResponse page;
    ASSERT_TRUE(daemon_.registry().ListRecipes(&context, {}, &page).ok());
    ASSERT_EQ(page.recipes_size(), 1);
    EXPECT_EQ(page.recipes(0).SerializeAsString(), saved.SerializeAsString());
  }
  EXPECT_TRUE(Get("mix@prod", &saved).ok());
  {
    grpc::ClientContext context;
    v1::DeleteAliasRequest request;
    request.set_name("mix");
    request.set_alias("prod");
    v1::DeleteAliasResponse response;
    ASSERT_TRUE(daemon_.registry()
                    .DeleteRecipeAlias(&context, request, &response)
                    .ok());
  }
  EXPECT_EQ(Get("mix@prod", &saved).error_code(), kNotFound);
  grpc::ClientContext context;
  v1::DeleteRecipeRequest request;
  request.set_name("mix@1");
  v1::DeleteRecipeResponse response;
  ASSERT_TRUE(
      daemon_.registry().DeleteRecipe(&context, request, &response).ok());
  EXPECT_EQ(Get("mix", &saved).error_code(), kNotFound);
}

TEST_F(SavedRecipeTest, ItsAdaptersStayUntilItGoes) {
  SaveMix();
  const grpc::Status status = DeleteAdapter("facts@1");
  EXPECT_EQ(status.error_code(), kFailedPrecondition);
  EXPECT_THAT(status.error_message(), HasSubstr("\"mix@1\""));
  grpc::ClientContext context;
  v1::DeleteRecipeRequest request;
  request.set_name("mix");
  v1::DeleteRecipeResponse response;
  ASSERT_TRUE(
      daemon_.registry().DeleteRecipe(&context, request, &response).ok());
  EXPECT_TRUE(DeleteAdapter("facts@1").ok());
}

TEST_F(SavedRecipeTest, WhatCouldNotBeServedIsNotSaved) {
  v1::SaveRecipeRequest request;
  v1::SavedRecipe saved;
  request.set_name("../x");
  EXPECT_EQ(Save(request, &saved).error_code(), kInvalid);
  request.set_name("x");
  AddSkill(request.mutable_recipe(), "nobody", 1);
  grpc::Status status = Save(request, &saved);
  EXPECT_EQ(status.error_code(), kNotFound);
  EXPECT_THAT(status.error_message(), HasSubstr("recipe.skills[0].adapter"));
  request.mutable_recipe()->mutable_skills(0)->set_adapter("facts");
  request.mutable_recipe()->mutable_skills(0)->set_weight(1000);
  EXPECT_EQ(Save(request, &saved).error_code(), kInvalid);
  v1::ModuleWeight* weight =
      request.mutable_recipe()->mutable_skills(0)->add_module_weights();
  request.mutable_recipe()->mutable_skills(0)->set_weight(1);
  weight->set_modules("no.such.module");
  weight->set_weight(1);
  status = Save(request, &saved);
  EXPECT_EQ(status.error_code(), kInvalid);
  EXPECT_THAT(status.error_message(), HasSubstr("no.such.module"));
  EXPECT_EQ(Get("x", &saved).error_code(), kNotFound);
}

}  // namespace
}  // namespace stockpot
