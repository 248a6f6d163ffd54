#include "formats/adapter_rows.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "tests/formats/fixtures.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::stockpot::testing::TestTensor;
using ::stockpot::testing::ZeroSafetensors;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

const char kEmbedding[] = "base_model.model.model.embed_tokens";
const char kHead[] = "base_model.model.lm_head";
const char kRows[] = ".token_adapter.trainable_tokens_delta";

// q: 6 -> 10, 50 tokens of 6 values, and a head.
std::vector<BaseModule> SmallBase(bool is_tied) {
  return {{"model.layers.0.self_attn.q_proj", 6, 10},
          {.path = "model.embed_tokens",
           .in = 50,
           .out = 6,
           .is_embedding = true,
           .is_tied = is_tied},
          {.path = "lm_head",
           .in = 6,
           .out = 50,
           .is_output_head = true,
           .is_tied = is_tied}};
}

absl::StatusOr<AdapterLayout> Match(const std::string& fields,
                                    std::vector<TestTensor> more,
                                    bool is_tied = false,
                                    const char* kind = "LORA",
                                    const char* targets = R"(["q_proj"])") {
  const std::vector<BaseModule> base = SmallBase(is_tied);
  const auto config = AdapterConfig::Parse(absl::StrCat(
      R"({"peft_type":")", kind, R"(","r":2,"init_r":2,"lora_alpha":4,)",
      R"("target_modules":)", targets, fields, "}"));
  if (!config.ok()) return config.status();
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj";
  more.push_back({absl::StrCat(q, ".lora_A.weight"), {2, 6}});
  more.push_back({absl::StrCat(q, ".lora_B.weight"), {10, 2}});
  if (kind == std::string("ADALORA")) {
    more.push_back({absl::StrCat(q, ".lora_E"), {2, 1}});
  }
  const std::string file = ZeroSafetensors(more);
  const auto header =
      ParseSafetensorsHeader(file, file.size(), AdapterLimits());
  if (!header.ok()) return header.status();
  return MatchAdapter(*header, *config, base);
}

std::string Tokens(const char* value) {
  return absl::StrCat(R"(,"trainable_token_indices":)", value);
}
std::string Save(const char* value) {
  return absl::StrCat(R"(,"modules_to_save":)", value);
}

constexpr char kBoth[] = R"(["q_proj","embed_tokens"])";

TEST(AdapterRowsTest, AnEmbeddingHasFactorsOfItsOwnName) {
  const TestTensor a{absl::StrCat(kEmbedding, ".lora_embedding_A"), {2, 50}};
  const TestTensor b{absl::StrCat(kEmbedding, ".lora_embedding_B"), {6, 2}};
  const auto layout = Match("", {a, b}, false, "LORA", kBoth);
  ASSERT_THAT(layout, IsOk());
  ASSERT_EQ(layout->modules.size(), 2);
  EXPECT_EQ(layout->modules[1].module, 1);
  EXPECT_EQ(layout->modules[1].rank, 2);
  EXPECT_EQ(layout->modules[1].scale, 2);
  EXPECT_THAT(layout->replaced, IsEmpty());
  EXPECT_THAT(layout->target_suffixes, ElementsAre("embed_tokens", "q_proj"));

  EXPECT_THAT(Match("", {a}, false, "LORA", kBoth),
              StatusIs(kInvalid, HasSubstr("lora_embedding_B is missing")));
  EXPECT_THAT(Match("", {}, false, "LORA", kBoth),
              StatusIs(kInvalid, HasSubstr("hold no factors for it")));
  EXPECT_THAT(Match("", {a, b}),
              StatusIs(kInvalid, HasSubstr("does not target it")));
  EXPECT_THAT(Match("", {{absl::StrCat(kEmbedding, ".lora_A.weight"), {2, 50}}},
                    false, "LORA", kBoth),
              StatusIs(kInvalid, HasSubstr("an embedding, whose factors are")));
  EXPECT_THAT(Match("", {}, false, "ADALORA", kBoth),
              StatusIs(kUnimplemented, HasSubstr("of LORA alone")));
}

TEST(AdapterRowsTest, AllLinearLeavesTheEmbeddingOut) {
  EXPECT_THAT(Match("", {}, false, "LORA", R"("all-linear")"), IsOk());
}

TEST(AdapterRowsTest, TrainedTokensAreMatchedInTheirOrder) {
  const auto layout =
      Match(Tokens("[7,3]"), {{absl::StrCat(kEmbedding, kRows), {2, 6}}});
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ(layout->modules.size(), 1);
  ASSERT_EQ(layout->replaced.size(), 1);
  EXPECT_EQ(layout->replaced[0].module, 1);
  EXPECT_THAT(layout->replaced[0].tokens, ElementsAre(7, 3));
  EXPECT_EQ(layout->min_rank, 2);
  EXPECT_THAT(layout->target_suffixes, ElementsAre("embed_tokens", "q_proj"));
}

// Source: peft/utils/other.py, set_additional_trainable_modules.
TEST(AdapterRowsTest, ATiedHeadFollowsTheEmbeddingUnlessItsTokensDiffer) {
  const TestTensor embedding{absl::StrCat(kEmbedding, kRows), {2, 6}};
  const TestTensor head{absl::StrCat(kHead, kRows), {1, 6}};
  for (const char* tokens : {"[7,3]", R"({"embed_tokens":[7,3]})",
                             R"({"embed_tokens":[7,3],"lm_head":[7,3]})"}) {
    const auto layout = Match(Tokens(tokens), {embedding}, true);
    ASSERT_THAT(layout, IsOk()) << tokens;
    ASSERT_EQ(layout->replaced.size(), 2) << tokens;
    EXPECT_EQ(layout->replaced[1].module, 2);
    EXPECT_EQ(layout->replaced[1].tensor, layout->replaced[0].tensor);
    EXPECT_THAT(layout->replaced[1].tokens, ElementsAre(7, 3));
  }
  const auto apart = Match(Tokens(R"({"embed_tokens":[7,3],"lm_head":[3]})"),
                           {embedding, head}, true);
  ASSERT_THAT(apart, IsOk());
  ASSERT_EQ(apart->replaced.size(), 2);
  EXPECT_NE(apart->replaced[1].tensor, apart->replaced[0].tensor);
  EXPECT_THAT(apart->replaced[1].tokens, ElementsAre(3));
  const auto head_alone = Match(Tokens(R"({"lm_head":[3]})"), {head}, true);
  ASSERT_THAT(head_alone, IsOk());
  ASSERT_EQ(head_alone->replaced.size(), 1);
  EXPECT_EQ(head_alone->replaced[0].module, 2);
  EXPECT_THAT(Match(Tokens("[7,3]"), {embedding, head}, true),
              StatusIs(kInvalid, HasSubstr("shares its weight")));
}

// TRAINABLE_TOKENS; `fields` follow the type.
absl::StatusOr<AdapterLayout> MatchAlone(const std::string& fields,
                                         const std::vector<TestTensor>& tensors,
                                         bool is_tied = false) {
  const std::vector<BaseModule> base = SmallBase(is_tied);
  const auto config = AdapterConfig::Parse(
      absl::StrCat(R"({"peft_type":"TRAINABLE_TOKENS",)", fields, "}"));
  if (!config.ok()) return config.status();
  EXPECT_THAT(config->unknown_keys(), IsEmpty());
  const std::string file = ZeroSafetensors(tensors);
  const auto header =
      ParseSafetensorsHeader(file, file.size(), AdapterLimits());
  if (!header.ok()) return header.status();
  return MatchAdapter(*header, *config, base);
}

const char kAlone[] = ".trainable_tokens_delta";

TEST(AdapterRowsTest, TokensAloneAreOfTheEmbeddingUnlessTargetsSayOtherwise) {
  const TestTensor embedding{absl::StrCat(kEmbedding, kAlone), {2, 6}};
  const TestTensor head{absl::StrCat(kHead, kAlone), {2, 6}};
  for (const char* targets : {"", R"(,"target_modules":null)",
                              R"(,"target_modules":["embed_tokens"])",
                              R"(,"target_modules":"model.embed_tokens")"}) {
    const auto layout = MatchAlone(
        absl::StrCat(R"("token_indices":[7,3],"init_weights":true)", targets),
        {embedding});
    ASSERT_THAT(layout, IsOk()) << targets;
    EXPECT_THAT(layout->modules, IsEmpty());
    ASSERT_EQ(layout->replaced.size(), 1);
    EXPECT_EQ(layout->replaced[0].module, 1);
    EXPECT_THAT(layout->replaced[0].tokens, ElementsAre(7, 3));
    EXPECT_THAT(layout->target_suffixes, ElementsAre("embed_tokens"));
    EXPECT_EQ(layout->max_rank, 0);
  }
  const std::string of_head =
      R"("token_indices":[7,3],"target_modules":["lm_head"])";
  for (const bool is_tied : {false, true}) {
    const auto alone = MatchAlone(of_head, {head}, is_tied);
    ASSERT_THAT(alone, IsOk());
    ASSERT_EQ(alone->replaced.size(), 1);
    EXPECT_EQ(alone->replaced[0].module, 2);
  }
  const auto both = MatchAlone(
      R"("token_indices":[7,3],"target_modules":["embed_tokens","lm_head"])",
      {embedding, head});
  ASSERT_THAT(both, IsOk());
  EXPECT_EQ(both->replaced.size(), 2);
  EXPECT_THAT(both->rows_copies, IsEmpty());
}

// Source: peft/tuners/trainable_tokens/model.py, inject_adapter.
TEST(AdapterRowsTest, TokensAloneOfATiedHeadAreTheEmbeddings) {
  const TestTensor embedding{absl::StrCat(kEmbedding, kAlone), {2, 6}};
  const TestTensor head{absl::StrCat(kHead, kAlone), {2, 6}};
  const std::string fields = R"("token_indices":[7,3])";
  for (const bool is_saved_twice : {false, true}) {
    const auto layout =
        MatchAlone(fields,
                   is_saved_twice ? std::vector<TestTensor>{embedding, head}
                                  : std::vector<TestTensor>{embedding},
                   true);
    ASSERT_THAT(layout, IsOk());
    ASSERT_EQ(layout->replaced.size(), 2);
    EXPECT_EQ(layout->replaced[0].tensor, layout->replaced[1].tensor);
    ASSERT_EQ(layout->rows_copies.size(), is_saved_twice ? 1 : 0);
    if (is_saved_twice) {
      EXPECT_EQ(layout->rows_copies[0].original, layout->replaced[0].tensor);
      EXPECT_NE(layout->rows_copies[0].tensor, layout->replaced[0].tensor);
    }
  }
  EXPECT_THAT(
      MatchAlone(fields, {embedding, {absl::StrCat(kHead, kAlone), {1, 6}}},
                 true),
      StatusIs(kInvalid, HasSubstr("whose rows the head shares")));
  EXPECT_THAT(MatchAlone(fields, {embedding, head}),
              StatusIs(kInvalid, HasSubstr("no token_indices of this module")));
  EXPECT_THAT(
      MatchAlone(
          R"("token_indices":[7,3],"target_modules":["embed_tokens","lm_head"])",
          {embedding,
           head,
           {absl::StrCat(kHead, ".base_layer", kAlone), {2, 6}}},
          true),
      StatusIs(kUnimplemented, HasSubstr("name the embedding alone")));
}

TEST(AdapterRowsTest, TokensAloneThatDoNotFitAreNamed) {
  const TestTensor rows{absl::StrCat(kEmbedding, kAlone), {2, 6}};
  const auto expect = [&](const char* fields, absl::StatusCode code,
                          const char* what) {
    EXPECT_THAT(MatchAlone(fields, {rows}), StatusIs(code, HasSubstr(what)))
        << fields;
  };
  expect(R"("r":1)", kInvalid, "\"token_indices\" must list 1 to");
  expect(R"("token_indices":[])", kInvalid, "\"token_indices\" must list 1 to");
  expect(R"("token_indices":[7,7])", kInvalid, "token 7 twice");
  expect(R"("token_indices":[7,50])", kInvalid, "token 50, the base model has");
  expect(R"("token_indices":[7])", kInvalid, "as token_indices says");
  expect(R"("token_indices":[7,3],"target_modules":["wte"])", kInvalid,
         "names neither the embedding nor the head");
  expect(R"("token_indices":[7,3],"target_modules":["embed_tokens","q_proj"])",
         kUnimplemented, "q_proj");
  expect(R"("token_indices":[7,3],"target_modules":"all-linear")",
         kUnimplemented, "q_proj");
  expect(R"("token_indices":[7,3],"modules_to_save":["lm_head"])", kInvalid,
         "\"modules_to_save\" is none of TRAINABLE_TOKENS");
  // The name that LORA gives such rows, which PEFT would not read here.
  EXPECT_THAT(MatchAlone(R"("token_indices":[7,3])",
                         {{absl::StrCat(kEmbedding, kRows), {2, 6}}}),
              StatusIs(kUnimplemented, _));
  EXPECT_THAT(
      MatchAlone(R"("token_indices":[7,3],"target_modules":["lm_head"])",
                 {rows}),
      StatusIs(kInvalid, _));
}

// Without tokens the rows would be read as the whole weight.
TEST(AdapterRowsTest, AModuleWithoutTokensIsRefused) {
  EXPECT_THAT(Match(Tokens(R"({"lm_head":[]})"),
                    {{absl::StrCat(kHead, kRows), {0, 6}}}),
              StatusIs(kInvalid, HasSubstr("must list 1 to")));
}

TEST(AdapterRowsTest, TokensThatDoNotFitAreNamed) {
  const std::string name = absl::StrCat(kEmbedding, kRows);
  EXPECT_THAT(Match(Tokens("[7,3]"), {}),
              StatusIs(kInvalid, HasSubstr("the weights hold no")));
  EXPECT_THAT(Match("", {{name, {2, 6}}}),
              StatusIs(kInvalid, HasSubstr("no trainable_token_indices")));
  EXPECT_THAT(Match(Tokens("[7,50]"), {{name, {2, 6}}}),
              StatusIs(kInvalid, HasSubstr("token 50, the base model has 50")));
  EXPECT_THAT(Match(Tokens("[7,3]"), {{name, {3, 6}}}),
              StatusIs(kInvalid, HasSubstr("expected shape [2, 6]")));
  EXPECT_THAT(Match(Tokens(R"({"wte":[7]})"), {}),
              StatusIs(kInvalid, HasSubstr("\"wte\", which the base model")));
  EXPECT_THAT(Match(Tokens(R"({"embed_tokens":[7],"model.embed_tokens":[3]})"),
                    {{name, {1, 6}}}),
              StatusIs(kInvalid, HasSubstr("twice")));
  EXPECT_THAT(Match(Tokens("[7,3]"),
                    {{name, {2, 6}}, {absl::StrCat(name, ".default"), {2, 6}}}),
              StatusIs(kInvalid, HasSubstr("also stored as")));
}

// As all rows of the module it would be read beyond its end.
TEST(AdapterRowsTest, ATensorOfNoRowsReplacesNone) {
  EXPECT_THAT(Match(Tokens(R"({"embed_tokens":[]})"),
                    {{absl::StrCat(kEmbedding, kRows), {0, 6}}}),
              StatusIs(kInvalid, HasSubstr("must list 1 to")));
}

TEST(AdapterRowsTest, SavedModulesReplaceTheWholeWeight) {
  const TestTensor embedding{absl::StrCat(kEmbedding, ".weight"), {50, 6}};
  const TestTensor head{absl::StrCat(kHead, ".weight"), {50, 6}};
  const auto both =
      Match(Save(R"(["embed_tokens","lm_head"])"), {embedding, head});
  ASSERT_THAT(both, IsOk());
  ASSERT_EQ(both->replaced.size(), 2);
  EXPECT_THAT(both->replaced[0].tokens, IsEmpty());
  EXPECT_NE(both->replaced[0].tensor, both->replaced[1].tensor);
  // Of a tied model, too, the head stays unless it is saved.
  const auto one = Match(Save(R"(["embed_tokens"])"), {embedding}, true);
  ASSERT_THAT(one, IsOk());
  EXPECT_EQ(one->replaced.size(), 1);
  // PEFT adapts no module that it saves.
  EXPECT_THAT(Match(Save(R"(["lm_head"])"), {head}, false, "LORA",
                    R"(["q_proj","lm_head"])"),
              IsOk());
  EXPECT_THAT(Match(Save(R"(["lm_head"])"), {}),
              StatusIs(kInvalid, HasSubstr("no tensor \"base_model.model.lm")));
  EXPECT_THAT(Match(Save(R"(["lm_head"])"),
                    {{absl::StrCat(kHead, ".weight"), {53, 6}}}),
              StatusIs(kInvalid, HasSubstr("vocabulary was resized")));
  EXPECT_THAT(Match(absl::StrCat(Save(R"(["embed_tokens"])"), Tokens("[1]")),
                    {embedding, {absl::StrCat(kEmbedding, kRows), {1, 6}}}),
              StatusIs(kInvalid, HasSubstr("replaces as a whole")));
}

TEST(AdapterRowsTest, RowsOfAnAdaptedModuleAreRefused) {
  EXPECT_THAT(Match(Tokens("[1]"),
                    {{absl::StrCat(kEmbedding, kRows), {1, 6}},
                     {absl::StrCat(kEmbedding, ".lora_embedding_A"), {2, 50}},
                     {absl::StrCat(kEmbedding, ".lora_embedding_B"), {6, 2}}},
                    false, "LORA", kBoth),
              StatusIs(kInvalid, HasSubstr("adapts with factors")));
}

TEST(AdapterRowsTest, CopiesOfTheBaseAreToldApart) {
  const auto layout =
      Match("",
            {{absl::StrCat(kEmbedding, ".base_layer.weight"), {50, 6}},
             {absl::StrCat(kEmbedding, ".lora_embedding_A"), {2, 50}},
             {absl::StrCat(kEmbedding, ".lora_embedding_B"), {6, 2}},
             {absl::StrCat(kHead, ".weight"), {50, 6}}},
            false, "LORA", kBoth);
  ASSERT_THAT(layout, IsOk());
  EXPECT_THAT(layout->replaced, IsEmpty());
  ASSERT_EQ(layout->base_copies.size(), 2);
  EXPECT_EQ(layout->base_copies[0].module, 1);
  EXPECT_EQ(layout->base_copies[1].module, 2);
}

TEST(AdapterRowsTest, WithWeightTyingTheFileSaysWhatTheHeadHas) {
  const std::string tying = R"(,"ensure_weight_tying":true)";
  const std::vector<TestTensor> factors = {
      {absl::StrCat(kEmbedding, ".lora_embedding_A"), {2, 50}},
      {absl::StrCat(kEmbedding, ".lora_embedding_B"), {6, 2}},
      {absl::StrCat(kHead, ".lora_A.weight"), {2, 6}},
      {absl::StrCat(kHead, ".lora_B.weight"), {50, 2}}};
  const auto tied = Match(tying, factors, true, "LORA", kBoth);
  ASSERT_THAT(tied, IsOk());
  EXPECT_EQ(tied->modules.size(), 3);
  EXPECT_THAT(Match(tying, factors, false, "LORA", kBoth),
              StatusIs(kInvalid, HasSubstr("does not target it")));
  const std::vector<TestTensor> whole = {
      {absl::StrCat(kEmbedding, ".weight"), {50, 6}},
      {absl::StrCat(kHead, ".weight"), {50, 6}}};
  const std::string saved = tying + Save(R"(["embed_tokens"])");
  const auto replaced = Match(saved, whole, true);
  ASSERT_THAT(replaced, IsOk());
  EXPECT_EQ(replaced->replaced.size(), 2);
  const auto untied = Match(saved, whole, false);
  ASSERT_THAT(untied, IsOk());
  EXPECT_EQ(untied->replaced.size(), 1);
  EXPECT_EQ(untied->base_copies.size(), 1);
}

}  // namespace
}  // namespace stockpot
