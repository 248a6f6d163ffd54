#include "server/signing_keys.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/sha256.h"
#include "base/status_macros.h"
#include "formats/mapped_file.h"
#include "formats/quoted.h"
#include "formats/signature_bundle.h"
#include "registry/adapter_store.h"

namespace stockpot {

namespace {

bool IsKeyName(absl::string_view name) {
  return !name.empty() && name.size() <= kMaxSignerBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || absl::StrContains("._-", c);
         });
}

// `files` says that the upload's file `name` has the SHA-256 `uploaded`.
absl::Status CheckFile(const std::map<std::string, Digest>& files,
                       const std::string& name, const Digest& uploaded) {
  const auto it = files.find(name);
  if (it == files.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("signature: it does not speak for ", name,
                     "; sign the adapter's directory"));
  }
  if (it->second != uploaded) {
    return absl::InvalidArgumentError(absl::StrCat(
        "signature: it was made over a ", name, " with sha256 ",
        it->second.ToHex(), ", but that of this upload is ", uploaded.ToHex(),
        "; sign it again, or upload what was signed"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SigningKeys> SigningKeys::Load(absl::string_view flag) {
  SigningKeys keys;
  for (const absl::string_view entry :
       absl::StrSplit(flag, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    const std::string name(parts.first);
    if (!IsKeyName(name) || parts.second.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--signing_keys: ", Quoted(entry),
                       " is not NAME=PATH; a name is 1 to ", kMaxSignerBytes,
                       " of a-z, A-Z, 0-9, ., _ and -"));
    }
    if (std::any_of(keys.keys_.begin(), keys.keys_.end(),
                    [&](const Key& key) { return key.name == name; })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--signing_keys: the name ", name, " stands there twice"));
    }
    absl::StatusOr<std::string> pem =
        ReadFile(std::string(parts.second), PublicKey::kMaxPemBytes);
    absl::StatusOr<PublicKey> key =
        pem.ok() ? PublicKey::FromPem(*pem) : pem.status();
    if (!key.ok()) {
      return absl::Status(key.status().code(),
                          absl::StrCat("--signing_keys: ", parts.second, ": ",
                                       key.status().message()));
    }
    std::string hint = Sha256::Of(key->pem()).ToHex();
    keys.keys_.push_back({name, std::move(hint), *std::move(key)});
  }
  return keys;
}

absl::StatusOr<std::string> SigningKeys::FindSigner(
    absl::string_view signature, absl::string_view adapter_config,
    const Digest& weights) const {
  ASSIGN_OR_RETURN(const SignatureBundle bundle,
                   SignatureBundle::Parse(signature));
  const std::string signed_bytes = bundle.signed_bytes();
  // The hint saves work and decides nothing: anybody may write any.
  const auto signer =
      std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) {
        return (bundle.key_hint.empty() || bundle.key_hint == key.hint) &&
               key.key.Verifies(signed_bytes, bundle.signature);
      });
  if (signer == keys_.end()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "signature: none of this server's keys made it (",
        absl::StrJoin(
            keys_, ", ",
            [](std::string* out, const Key& key) { out->append(key.name); }),
        "); sign with one of them, or have the operator add yours to "
        "--signing_keys"));
  }
  ASSIGN_OR_RETURN(const auto files, ParseSignedFiles(bundle.payload));
  RETURN_IF_ERROR(
      CheckFile(files, "adapter_config.json", Sha256::Of(adapter_config)));
  RETURN_IF_ERROR(CheckFile(files, "adapter_model.safetensors", weights));
  return signer->name;
}

}  // namespace stockpot
