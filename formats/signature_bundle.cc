#include "formats/signature_bundle.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

using Json = nlohmann::json;

constexpr char kMediaType[] = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr char kPayloadType[] = "application/vnd.in-toto+json";
constexpr char kStatementType[] = "https://in-toto.io/Statement/v1";
constexpr char kPredicateType[] = "https://model_signing/signature/v1.0";

absl::Status WithContext(const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("signature: ", status.message()));
}

absl::StatusOr<Json> ParseObject(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json,
                   ParseJson(text, {.max_bytes = SignatureBundle::kMaxBytes,
                                    .max_depth = 16}));
  if (!json.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  return json;
}

absl::Status Expect(const Json& object, absl::string_view key,
                    absl::string_view expected, absl::string_view where) {
  ASSIGN_OR_RETURN(const std::string value, GetString(object, key, where));
  return value == expected
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   where, where.empty() ? "" : ".", key, " is ", Quoted(value),
                   "; expected ", Quoted(expected)));
}

// object[key], which must be an object.
absl::StatusOr<const Json*> GetObject(const Json& object, absl::string_view key,
                                      absl::string_view where) {
  const Json* const value = FindNonNull(object, key);
  if (value == nullptr || !value->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, where.empty() ? "" : ".", key, " is missing or not an object"));
  }
  return value;
}

// object[key], which must be a list.
absl::StatusOr<const Json*> GetList(const Json& object, absl::string_view key,
                                    absl::string_view where) {
  const Json* const value = FindNonNull(object, key);
  if (value == nullptr || !value->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, where.empty() ? "" : ".", key, " is missing or not a list"));
  }
  return value;
}

// RFC 4648 section 4, in the one way to write it: padded, no other character.
absl::StatusOr<std::string> GetBase64(const Json& object, absl::string_view key,
                                      absl::string_view where) {
  ASSIGN_OR_RETURN(const std::string text, GetString(object, key, where));
  std::string bytes;
  if (text.empty() || !absl::Base64Unescape(text, &bytes) ||
      absl::Base64Escape(bytes) != text) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ".", key, " is not base64 (RFC 4648, padded)"));
  }
  return bytes;
}

absl::StatusOr<SignatureBundle> ParseBundle(absl::string_view text) {
  ASSIGN_OR_RETURN(const Json root, ParseObject(text));
  RETURN_IF_ERROR(Expect(root, "mediaType", kMediaType, ""));
  ASSIGN_OR_RETURN(const Json* const material,
                   GetObject(root, "verificationMaterial", ""));
  const Json* const key = FindNonNull(*material, "publicKey");
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        "verificationMaterial has no publicKey: signatures of certificates and "
        "of identities are not known here; sign with `model_signing sign key`");
  }
  SignatureBundle bundle;
  ASSIGN_OR_RETURN(
      bundle.key_hint,
      GetStringOr(*key, "hint", "", "verificationMaterial.publicKey"));
  ASSIGN_OR_RETURN(const Json* const envelope,
                   GetObject(root, "dsseEnvelope", ""));
  RETURN_IF_ERROR(
      Expect(*envelope, "payloadType", kPayloadType, "dsseEnvelope"));
  ASSIGN_OR_RETURN(bundle.payload,
                   GetBase64(*envelope, "payload", "dsseEnvelope"));
  ASSIGN_OR_RETURN(const Json* const signatures,
                   GetList(*envelope, "signatures", "dsseEnvelope"));
  if (signatures->size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("dsseEnvelope.signatures has ", signatures->size(),
                     " entries; expected one"));
  }
  ASSIGN_OR_RETURN(bundle.signature, GetBase64((*signatures)[0], "sig",
                                               "dsseEnvelope.signatures[0]"));
  return bundle;
}

// Adds the files of predicate.resources and returns the SHA-256 over their
// digests.
absl::StatusOr<Digest> ReadResources(const Json& resources,
                                     std::map<std::string, Digest>* files) {
  Sha256 all;
  for (size_t i = 0; i < resources.size(); ++i) {
    const std::string where = absl::StrCat("predicate.resources[", i, "]");
    ASSIGN_OR_RETURN(std::string name, GetString(resources[i], "name", where));
    RETURN_IF_ERROR(Expect(resources[i], "algorithm", "sha256", where));
    ASSIGN_OR_RETURN(const std::string hex,
                     GetString(resources[i], "digest", where));
    const absl::StatusOr<Digest> digest = Digest::FromHex(hex);
    if (!digest.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".digest: ", digest.status().message()));
    }
    all.Update(
        absl::string_view(reinterpret_cast<const char*>(digest->bytes.data()),
                          digest->bytes.size()));
    if (!files->emplace(name, *digest).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ".name: ", Quoted(name), " stands there twice"));
    }
  }
  return all.Finish();
}

absl::StatusOr<std::map<std::string, Digest>> ParseStatement(
    absl::string_view payload) {
  ASSIGN_OR_RETURN(const Json root, ParseObject(payload));
  RETURN_IF_ERROR(Expect(root, "_type", kStatementType, ""));
  RETURN_IF_ERROR(Expect(root, "predicateType", kPredicateType, ""));
  ASSIGN_OR_RETURN(const Json* const predicate,
                   GetObject(root, "predicate", ""));
  ASSIGN_OR_RETURN(const Json* const serialization,
                   GetObject(*predicate, "serialization", "predicate"));
  RETURN_IF_ERROR(
      Expect(*serialization, "method", "files", "predicate.serialization"));
  ASSIGN_OR_RETURN(const Json* const resources,
                   GetList(*predicate, "resources", "predicate"));
  std::map<std::string, Digest> files;
  ASSIGN_OR_RETURN(const Digest all, ReadResources(*resources, &files));
  ASSIGN_OR_RETURN(const Json* const subject, GetList(root, "subject", ""));
  if (subject->size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "subject has ", subject->size(), " entries; expected one"));
  }
  ASSIGN_OR_RETURN(const Json* const digest,
                   GetObject((*subject)[0], "digest", "subject[0]"));
  RETURN_IF_ERROR(Expect(*digest, "sha256", all.ToHex(), "subject[0].digest"));
  return files;
}

}  // namespace

std::string SignatureBundle::signed_bytes() const {
  return absl::StrCat("DSSEv1 ", sizeof(kPayloadType) - 1, " ", kPayloadType,
                      " ", payload.size(), " ", payload);
}

absl::StatusOr<SignatureBundle> SignatureBundle::Parse(absl::string_view text) {
  absl::StatusOr<SignatureBundle> bundle = ParseBundle(text);
  return bundle.ok() ? std::move(bundle) : WithContext(bundle.status());
}

absl::StatusOr<std::map<std::string, Digest>> ParseSignedFiles(
    absl::string_view payload) {
  absl::StatusOr<std::map<std::string, Digest>> files = ParseStatement(payload);
  return files.ok() ? std::move(files) : WithContext(files.status());
}

}  // namespace stockpot
