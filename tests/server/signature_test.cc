// Signed uploads, over gRPC.

#include <openssl/evp.h>

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/sha256.h"
#include "formats/signature_bundle.h"
#include "server/signing_keys.h"
#include "tests/server/test_daemon.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_dir.h"

namespace stockpot::testing {
namespace {

using ::testing::_;
using ::testing::HasSubstr;
using Json = nlohmann::json;

std::string GoldenKey(const std::string& kind) {
  return absl::StrCat(STOCKPOT_SOURCE_DIR, "/tests/golden/signatures/", kind,
                      ".pub.pem");
}

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// An Ed25519 signer: what it signs is the same every time.
class Signer {
 public:
  // `seed` has 32 bytes.
  explicit Signer(const std::string& seed)
      : key_(EVP_PKEY_new_raw_private_key(
            EVP_PKEY_ED25519, nullptr,
            reinterpret_cast<const unsigned char*>(seed.data()), seed.size())) {
  }

  std::string public_pem() const {
    unsigned char raw[32];
    size_t size = sizeof(raw);
    EXPECT_EQ(EVP_PKEY_get_raw_public_key(key_.get(), raw, &size), 1);
    // RFC 8410: the prefix of every Ed25519 SubjectPublicKeyInfo.
    const std::string prefix =
        absl::HexStringToBytes("302a300506032b6570032100");
    return absl::StrCat(
        "-----BEGIN PUBLIC KEY-----\n",
        absl::Base64Escape(prefix +
                           std::string(reinterpret_cast<char*>(raw), size)),
        "\n-----END PUBLIC KEY-----\n");
  }

  // A bundle over files of these names and digests.
  std::string Sign(
      const std::vector<std::pair<std::string, Digest>>& files) const {
    Json resources = Json::array();
    Sha256 all;
    for (const auto& [name, digest] : files) {
      all.Update(absl::HexStringToBytes(digest.ToHex()));
      resources.push_back({{"name", name},
                           {"algorithm", "sha256"},
                           {"digest", digest.ToHex()}});
    }
    const Json statement = {
        {"_type", "https://in-toto.io/Statement/v1"},
        {"subject",
         {{{"name", "skill"}, {"digest", {{"sha256", all.Finish().ToHex()}}}}}},
        {"predicateType", "https://model_signing/signature/v1.0"},
        {"predicate",
         {{"serialization", {{"method", "files"}, {"hash_type", "sha256"}}},
          {"resources", resources}}}};
    SignatureBundle bundle;
    bundle.payload = statement.dump();
    const std::string message = bundle.signed_bytes();
    std::string signature(64, '\0');
    size_t size = signature.size();
    const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
    EXPECT_EQ(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr,
                                 key_.get()),
              1);
    EXPECT_EQ(
        EVP_DigestSign(
            context.get(), reinterpret_cast<unsigned char*>(signature.data()),
            &size, reinterpret_cast<const unsigned char*>(message.data()),
            message.size()),
        1);
    const Json out = {
        {"mediaType", "application/vnd.dev.sigstore.bundle.v0.3+json"},
        {"verificationMaterial",
         {{"publicKey", {{"hint", Sha256::Of(public_pem()).ToHex()}}},
          {"tlogEntries", Json::array()}}},
        {"dsseEnvelope",
         {{"payload", absl::Base64Escape(bundle.payload)},
          {"payloadType", "application/vnd.in-toto+json"},
          {"signatures",
           {{{"sig", absl::Base64Escape(signature)}, {"keyid", ""}}}}}}};
    return out.dump();
  }

 private:
  const std::unique_ptr<EVP_PKEY, FreeKey> key_;
};

class SignatureTest : public ::testing::Test {
 protected:
  SignatureTest() {
    const std::string path = temp_.path() + "/release.pem";
    std::ofstream(path) << signer_.public_pem();
    keys_ = std::make_unique<SigningKeys>(*SigningKeys::Load(
        absl::StrCat("ci=", GoldenKey("p256"), ",release=", path)));
  }

  void Start(bool require) {
    TestDaemon::Options options;
    options.signing_keys = keys_.get();
    options.require_signature = require;
    daemon_ = std::make_unique<TestDaemon>(std::move(options));
    adapter_ = daemon_->MakeAdapter(1);
    files_ = {{"README.md", Sha256::Of("card")},
              {"adapter_config.json", Sha256::Of(adapter_.config)},
              {"adapter_model.safetensors", Sha256::Of(adapter_.safetensors)}};
  }

  grpc::Status Register(const std::string& signature,
                        const std::string& name = "a") {
    v1::AdapterMetadata metadata = TestDaemon::MetadataOf(name, adapter_);
    metadata.set_signature(signature);
    return daemon_->Register(metadata, adapter_.safetensors, 1 << 20,
                             &response_);
  }
  void ExpectRefused(const std::string& signature, grpc::StatusCode code,
                     const std::string& message) {
    const grpc::Status status = Register(signature);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_EQ(daemon_->store().Stats().num_adapters, 0u);
  }

  TempDir temp_;
  const Signer signer_{std::string(32, 's')};
  const Signer stranger_{std::string(32, 't')};
  std::unique_ptr<SigningKeys> keys_;
  std::unique_ptr<TestDaemon> daemon_;
  TinyAdapter adapter_;
  std::vector<std::pair<std::string, Digest>> files_;
  v1::RegisterAdapterResponse response_;
};

TEST_F(SignatureTest, TheSignerIsRecordedAndShown) {
  Start(/*require=*/true);
  ASSERT_TRUE(Register(signer_.Sign(files_)).ok());
  EXPECT_EQ(response_.adapter().signer(), "release");
  grpc::ClientContext context;
  v1::GetAdapterRequest request;
  request.set_adapter("a@1");
  v1::Adapter adapter;
  ASSERT_TRUE(daemon_->registry().GetAdapter(&context, request, &adapter).ok());
  EXPECT_EQ(adapter.signer(), "release");
}

TEST_F(SignatureTest, UnsignedUploadsAreTakenUnlessSignaturesAreRequired) {
  Start(/*require=*/false);
  ASSERT_TRUE(Register("").ok());
  EXPECT_EQ(response_.adapter().signer(), "");
  Start(/*require=*/true);
  ExpectRefused("", grpc::FAILED_PRECONDITION, "--require_signature");
}

TEST_F(SignatureTest, WhatIsStoredIsCheckedAgainUnderAnotherName) {
  Start(/*require=*/true);
  ASSERT_TRUE(Register(signer_.Sign(files_)).ok());
  EXPECT_EQ(Register("", "b").error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(Register(stranger_.Sign(files_), "b").error_code(),
            grpc::PERMISSION_DENIED);
  EXPECT_TRUE(Register(signer_.Sign(files_), "b").ok());
  EXPECT_TRUE(response_.already_stored());
  EXPECT_EQ(response_.adapter().signer(), "release");
}

TEST_F(SignatureTest, AStrangersSignatureIsRefused) {
  Start(/*require=*/false);
  ExpectRefused(stranger_.Sign(files_), grpc::PERMISSION_DENIED,
                "none of this server's keys");
  // The hint of a known key does not help.
  Json bundle = Json::parse(stranger_.Sign(files_));
  bundle["verificationMaterial"]["publicKey"]["hint"] =
      Sha256::Of(signer_.public_pem()).ToHex();
  ExpectRefused(bundle.dump(), grpc::PERMISSION_DENIED, "release");
  // Nor is a known key's signature overlooked without a hint.
  bundle = Json::parse(signer_.Sign(files_));
  bundle["verificationMaterial"]["publicKey"].erase("hint");
  EXPECT_TRUE(Register(bundle.dump()).ok());
}

TEST_F(SignatureTest, ASignatureOverOtherFilesIsRefused) {
  Start(/*require=*/true);
  for (const size_t file : {1, 2}) {
    auto other = files_;
    other[file].second = Sha256::Of("other");
    ExpectRefused(signer_.Sign(other), grpc::INVALID_ARGUMENT,
                  files_[file].first);
    other.erase(other.begin() + static_cast<int64_t>(file));
    ExpectRefused(signer_.Sign(other), grpc::INVALID_ARGUMENT,
                  files_[file].first);
  }
  auto twice = files_;
  twice.push_back(files_[1]);
  ExpectRefused(signer_.Sign(twice), grpc::INVALID_ARGUMENT, "twice");
  ExpectRefused("{}", grpc::INVALID_ARGUMENT, "mediaType");
  ExpectRefused(std::string(65'537, ' '), grpc::INVALID_ARGUMENT, "signature");
}

TEST_F(SignatureTest, TheBytesMustBeThoseThatWereSigned) {
  Start(/*require=*/true);
  v1::AdapterMetadata metadata = TestDaemon::MetadataOf("a", adapter_);
  metadata.set_signature(signer_.Sign(files_));
  // The declaration is the signed one, the bytes are not.
  const std::string other = daemon_->MakeAdapter(2).safetensors;
  EXPECT_EQ(daemon_->Register(metadata, other, 1 << 20).error_code(),
            grpc::INVALID_ARGUMENT);
  EXPECT_EQ(daemon_->store().Stats().num_adapters, 0u);
}

TEST(SigningKeysTest, BadEntriesAreNamed) {
  const std::string good = GoldenKey("p256");
  EXPECT_TRUE(SigningKeys::Load("")->empty());
  EXPECT_THAT(SigningKeys::Load("a=" + good + ",b=" + GoldenKey("ed25519")),
              IsOk());
  for (const auto& [flag, names] :
       {std::pair<std::string, std::string>{"a", "\"a\""},
        {"=" + good, "NAME=PATH"},
        {"a b=" + good, "a b"},
        {"a=" + good + ",a=" + good, "twice"},
        {"a=/does/not/exist", "/does/not/exist"},
        {std::string("a=") + STOCKPOT_SOURCE_DIR + "/README.md",
         "README.md"}}) {
    const auto keys = SigningKeys::Load(flag);
    ASSERT_FALSE(keys.ok()) << flag;
    EXPECT_THAT(std::string(keys.status().message()), HasSubstr(names));
  }
}

}  // namespace
}  // namespace stockpot::testing
