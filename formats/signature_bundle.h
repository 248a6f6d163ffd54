// A SignatureBundle is a detached signature over the files of a model, as
// OpenSSF Model Signing 1.x writes it with a key (`model_signing sign key`): a
// Sigstore bundle around a DSSE envelope around an in-toto statement.
//
// Pure; safe to use from many threads. Checks no signature: that is
// PublicKey's, over signed_bytes().
// Source: github.com/sigstore/model-transparency (model_signing 1.1),
// github.com/secure-systems-lab/dsse protocol.md, in-toto Statement v1,
// sigstore bundle v0.3.

#ifndef STOCKPOT_FORMATS_SIGNATURE_BUNDLE_H_
#define STOCKPOT_FORMATS_SIGNATURE_BUNDLE_H_

#include <cstddef>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"

namespace stockpot {

// The envelope: nothing in it may be believed before its signature was checked.
struct SignatureBundle {
  static constexpr size_t kMaxBytes = size_t{64} << 10;

  std::string payload;    // The statement, as it was signed.
  std::string signature;  // Of one signer, over signed_bytes().
  // SHA-256 over the signer's public key as PEM, lower-case hex; may be empty.
  std::string key_hint;

  // DSSE's pre-authentication encoding of the payload and its type.
  std::string signed_bytes() const;

  // Parses the JSON of a bundle.
  // Errors: InvalidArgument, naming the field: over kMaxBytes, JSON that is not
  // strict, base64 that is not canonical, another media or payload type, more
  // than one signature, a signature with a certificate in place of a key.
  static absl::StatusOr<SignatureBundle> Parse(absl::string_view text);
};

// The files that a statement speaks for, and the SHA-256 of each.
//
// Errors: InvalidArgument, naming the field: another type of statement or
// predicate, files serialised otherwise than whole, another hash than SHA-256,
// a name twice, a subject that is not the digest of all resources.
absl::StatusOr<std::map<std::string, Digest>> ParseSignedFiles(
    absl::string_view payload);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_SIGNATURE_BUNDLE_H_
