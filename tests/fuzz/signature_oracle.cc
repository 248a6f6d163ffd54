#include "tests/fuzz/signature_oracle.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "base/digest.h"
#include "base/sha256.h"
#include "formats/signature_bundle.h"

namespace stockpot::testing {
namespace {

using Json = nlohmann::json;

// RFC 4648 section 4, bit by bit.
std::string Base64(absl::string_view bytes) {
  constexpr char kLetters[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t bit = 0; bit < 8 * bytes.size(); bit += 6) {
    int letter = 0;
    for (size_t i = bit; i < bit + 6; ++i) {
      const int byte =
          i / 8 < bytes.size() ? static_cast<uint8_t>(bytes[i / 8]) : 0;
      letter = 2 * letter + (byte >> (7 - i % 8)) % 2;
    }
    text += kLetters[letter];
  }
  while (text.size() % 4 != 0) {
    text += '=';
  }
  return text;
}

// The value at the end of `path`; null if there is none.
Json At(const Json& root, std::initializer_list<const char*> path) {
  Json value = root;
  for (const char* const key : path) {
    value =
        value.is_object() && value.contains(key) ? Json(value[key]) : Json();
  }
  return value;
}

bool HasKeyTwice(absl::string_view text) {
  bool twice = false;
  std::vector<std::set<std::string>> open;
  const Json::parser_callback_t look =
      [&](int /*depth*/, Json::parse_event_t event, Json& value) {
        if (event == Json::parse_event_t::object_start) {
          open.emplace_back();
        } else if (event == Json::parse_event_t::object_end) {
          open.pop_back();
        } else if (event == Json::parse_event_t::key) {
          twice = twice || !open.back().insert(value.get<std::string>()).second;
        }
        return true;
      };
  const bool is_json =
      !Json::parse(text, look, /*allow_exceptions=*/false).is_discarded();
  return is_json && twice;
}

}  // namespace

std::string BundleFromInput(absl::string_view input) {
  const size_t nul = input.find('\0');
  if (nul == absl::string_view::npos) {
    return std::string(input);
  }
  return absl::StrReplaceAll(input.substr(nul + 1),
                             {{"STATEMENT", Base64(input.substr(0, nul))}});
}

std::string WrongInBundle(const SignatureBundle& bundle,
                          absl::string_view text) {
  const Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (text.size() > SignatureBundle::kMaxBytes || !root.is_object()) {
    return "too long, or no JSON object";
  }
  if (HasKeyTwice(text)) {
    return "a key stands twice";
  }
  const Json envelope = At(root, {"dsseEnvelope"});
  const Json signatures = At(envelope, {"signatures"});
  if (!signatures.is_array() || signatures.size() != 1) {
    return "not one signature";
  }
  if (At(root, {"mediaType"}) !=
          "application/vnd.dev.sigstore.bundle.v0.3+json" ||
      At(envelope, {"payloadType"}) != "application/vnd.in-toto+json") {
    return "of another type";
  }
  if (At(root, {"verificationMaterial", "publicKey"}).is_null()) {
    return "not signed by a key";
  }
  if (At(envelope, {"payload"}) != Base64(bundle.payload) ||
      At(signatures[0], {"sig"}) != Base64(bundle.signature) ||
      bundle.payload.empty() || bundle.signature.empty()) {
    return "payload or signature is not what the JSON says";
  }
  const Json hint = At(root, {"verificationMaterial", "publicKey", "hint"});
  if (hint.is_null() ? !bundle.key_hint.empty() : hint != bundle.key_hint) {
    return "the hint is not what the JSON says";
  }
  // protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body.
  if (bundle.signed_bytes() !=
      absl::StrCat("DSSEv1 28 application/vnd.in-toto+json ",
                   bundle.payload.size(), " ", bundle.payload)) {
    return "other bytes to be signed than DSSE says";
  }
  return "";
}

std::string WrongInSignedFiles(const std::map<std::string, Digest>& files,
                               absl::string_view payload) {
  const Json root = Json::parse(payload, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) {
    return "no JSON object";
  }
  if (HasKeyTwice(payload)) {
    return "a key stands twice";
  }
  if (At(root, {"_type"}) != "https://in-toto.io/Statement/v1" ||
      At(root, {"predicateType"}) != "https://model_signing/signature/v1.0" ||
      At(root, {"predicate", "serialization", "method"}) != "files") {
    return "of another type";
  }
  const Json resources = At(root, {"predicate", "resources"});
  std::set<std::string> names;
  std::string all;
  for (const Json& resource : resources) {
    const Json name = At(resource, {"name"});
    const Json digest = At(resource, {"digest"});
    if (!name.is_string() || !digest.is_string() ||
        At(resource, {"algorithm"}) != "sha256") {
      return "a resource is not a file and its SHA-256";
    }
    if (!names.insert(name.get<std::string>()).second) {
      return "a file stands there twice";
    }
    const auto found = files.find(name.get<std::string>());
    if (found == files.end() || found->second.ToHex() != digest) {
      return "the files are not what the JSON says";
    }
    all += absl::HexStringToBytes(found->second.ToHex());
  }
  if (!resources.is_array() || names.size() != files.size()) {
    return "the files are not what the JSON says";
  }
  const Json subject = At(root, {"subject"});
  if (!subject.is_array() || subject.size() != 1 ||
      At(subject[0], {"digest", "sha256"}) != Sha256::Of(all).ToHex()) {
    return "the subject is not the digest of the files";
  }
  return "";
}

}  // namespace stockpot::testing
