#include "formats/signature_bundle.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/public_key.h"
#include "base/sha256.h"
#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::UnorderedElementsAre;
using Json = nlohmann::json;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Golden(const std::string& name) {
  std::ifstream file(
      absl::StrCat(STOCKPOT_SOURCE_DIR, "/tests/golden/signatures/", name),
      std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

const char* const kKinds[] = {"p256", "p384", "p521", "ed25519"};

PublicKey KeyOf(const std::string& kind) {
  auto key = PublicKey::FromPem(Golden(kind + ".pub.pem"));
  EXPECT_THAT(key.status(), IsOk()) << kind;
  return *std::move(key);
}

TEST(SignatureGoldenTest, WhatModelSigningSignedVerifies) {
  for (const std::string kind : kKinds) {
    const auto bundle = SignatureBundle::Parse(Golden(kind + ".sig"));
    ASSERT_THAT(bundle, IsOk()) << kind;
    const PublicKey key = KeyOf(kind);
    EXPECT_EQ(key.pem(), Golden(kind + ".pub.pem"));
    EXPECT_EQ(bundle->key_hint, Sha256::Of(key.pem()).ToHex());
    EXPECT_TRUE(key.Verifies(bundle->signed_bytes(), bundle->signature))
        << kind;
    const auto files = ParseSignedFiles(bundle->payload);
    ASSERT_THAT(files, IsOk()) << kind;
    EXPECT_THAT(*files, UnorderedElementsAre(Key("README.md"),
                                             Key("adapter_config.json"),
                                             Key("adapter_model.safetensors")));
    for (const auto& [name, digest] : *files) {
      EXPECT_EQ(digest, Sha256::Of(Golden("adapter/" + name))) << name;
    }
  }
}

TEST(SignatureGoldenTest, OneChangedBitOrAnotherKeyDoesNotVerify) {
  for (const std::string kind : kKinds) {
    const SignatureBundle bundle =
        *SignatureBundle::Parse(Golden(kind + ".sig"));
    for (const std::string other : kKinds) {
      EXPECT_EQ(KeyOf(other).Verifies(bundle.signed_bytes(), bundle.signature),
                other == kind);
    }
    const PublicKey key = KeyOf(kind);
    std::string message = bundle.signed_bytes();
    for (size_t i = 0; i < message.size(); i += 37) {
      message[i] ^= 1;
      EXPECT_FALSE(key.Verifies(message, bundle.signature)) << kind << " " << i;
      message[i] ^= 1;
    }
    std::string signature = bundle.signature;
    for (size_t i = 0; i < signature.size(); ++i) {
      signature[i] ^= 4;
      EXPECT_FALSE(key.Verifies(message, signature)) << kind << " " << i;
      signature[i] ^= 4;
    }
    EXPECT_FALSE(key.Verifies(message, ""));
    EXPECT_FALSE(key.Verifies(message, signature + "x"));
  }
}

TEST(PublicKeyTest, OtherKeysAndTextsAreRefused) {
  EXPECT_THAT(PublicKey::FromPem("").status(), StatusIs(kInvalid, _));
  EXPECT_THAT(PublicKey::FromPem("-----BEGIN PRIVATE KEY-----\nx").status(),
              StatusIs(kInvalid, HasSubstr("private key")));
  std::string pem = Golden("p256.pub.pem");
  pem.replace(40, 10, "AAAAAAAAAA");
  EXPECT_FALSE(PublicKey::FromPem(pem).ok());
  EXPECT_THAT(PublicKey::FromPem(std::string(70'000, 'x')).status(),
              StatusIs(kInvalid, _));
}

// Changes that each make a good bundle one that is refused, and what the
// refusal names.
struct Change {
  std::string names;
  std::function<void(Json&)> apply;
};

TEST(SignatureBundleTest, EveryFieldIsChecked) {
  const std::vector<Change> changes = {
      {"mediaType", [](Json& b) { b["mediaType"] = "application/json"; }},
      {"mediaType", [](Json& b) { b.erase("mediaType"); }},
      {"verificationMaterial", [](Json& b) { b["verificationMaterial"] = 3; }},
      {"model_signing sign key",
       [](Json& b) {
         b["verificationMaterial"].erase("publicKey");
         b["verificationMaterial"]["certificate"] = {{"rawBytes", "AAAA"}};
       }},
      {"hint",
       [](Json& b) { b["verificationMaterial"]["publicKey"]["hint"] = 1; }},
      {"dsseEnvelope", [](Json& b) { b.erase("dsseEnvelope"); }},
      {"payloadType", [](Json& b) { b["dsseEnvelope"]["payloadType"] = "x"; }},
      {"payload", [](Json& b) { b["dsseEnvelope"]["payload"] = "===="; }},
      {"payload", [](Json& b) { b["dsseEnvelope"]["payload"] = ""; }},
      {"payload",
       [](Json& b) {
         Json& payload = b["dsseEnvelope"]["payload"];
         payload = payload.get<std::string>() + "\n";
       }},
      {"signatures",
       [](Json& b) { b["dsseEnvelope"]["signatures"] = Json::array(); }},
      {"signatures",
       [](Json& b) {
         Json& signatures = b["dsseEnvelope"]["signatures"];
         signatures.push_back(signatures[0]);
       }},
      {"signatures[0]",
       [](Json& b) { b["dsseEnvelope"]["signatures"][0] = 7; }},
      {"sig",
       [](Json& b) { b["dsseEnvelope"]["signatures"][0]["sig"] = "AB-_"; }}};
  for (const Change& change : changes) {
    Json bundle = Json::parse(Golden("p256.sig"));
    change.apply(bundle);
    EXPECT_THAT(SignatureBundle::Parse(bundle.dump()).status(),
                StatusIs(kInvalid, HasSubstr(change.names)));
  }
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("null"),
        std::string(70'000, ' '), std::string(1000, '['),
        std::string("{\"mediaType\":\"a\",\"mediaType\":\"b\"}")}) {
    EXPECT_THAT(SignatureBundle::Parse(text).status(), StatusIs(kInvalid, _));
  }
}

TEST(SignatureBundleTest, EveryFieldOfTheStatementIsChecked) {
  const auto resource = [](Json& s, int i) -> Json& {
    return s["predicate"]["resources"][i];
  };
  const std::vector<Change> changes = {
      {"_type",
       [](Json& s) { s["_type"] = "https://in-toto.io/Statement/v0.1"; }},
      {"predicateType",
       [](Json& s) {
         s["predicateType"] = "https://model_signing/Digests/v0.1";
       }},
      {"predicate", [](Json& s) { s["predicate"] = "x"; }},
      {"serialization", [](Json& s) { s["predicate"].erase("serialization"); }},
      {"method",
       [](Json& s) { s["predicate"]["serialization"]["method"] = "shards"; }},
      {"resources",
       [](Json& s) { s["predicate"]["resources"] = Json::object(); }},
      {"algorithm", [&](Json& s) { resource(s, 1)["algorithm"] = "blake2b"; }},
      {"digest", [&](Json& s) { resource(s, 1)["digest"] = "AB"; }},
      {"name", [&](Json& s) { resource(s, 1).erase("name"); }},
      {"twice",
       [&](Json& s) { resource(s, 1)["name"] = resource(s, 0)["name"]; }},
      // Another file, another order, one more: the subject gives it away.
      {"subject[0].digest.sha256",
       [&](Json& s) { resource(s, 1)["digest"] = std::string(64, '0'); }},
      {"subject[0].digest.sha256",
       [&](Json& s) { std::swap(resource(s, 0), resource(s, 1)); }},
      {"subject[0].digest.sha256",
       [&](Json& s) { s["predicate"]["resources"].erase(0); }},
      {"subject", [](Json& s) { s["subject"].push_back(s["subject"][0]); }},
      {"subject", [](Json& s) { s["subject"] = Json::array(); }},
      {"digest", [](Json& s) { s["subject"][0].erase("digest"); }}};
  const std::string payload =
      SignatureBundle::Parse(Golden("p256.sig"))->payload;
  for (const Change& change : changes) {
    Json statement = Json::parse(payload);
    change.apply(statement);
    EXPECT_THAT(ParseSignedFiles(statement.dump()).status(),
                StatusIs(kInvalid, HasSubstr(change.names)));
  }
  EXPECT_THAT(ParseSignedFiles("").status(), StatusIs(kInvalid, _));
}

TEST(SignatureBundleTest, ShortenedTextsAreRefusedNotRead) {
  const std::string whole = Golden("p256.sig");
  for (size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_FALSE(SignatureBundle::Parse(whole.substr(0, size)).ok());
  }
}

}  // namespace
}  // namespace stockpot
