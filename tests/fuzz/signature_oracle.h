// An independent opinion on what the reader of signatures accepts: it must mean
// one thing, and the same to whoever made the signature. As plain as possible,
// from the formats' own descriptions (sigstore bundle v0.3, DSSE, in-toto).

#ifndef STOCKPOT_TESTS_FUZZ_SIGNATURE_ORACLE_H_
#define STOCKPOT_TESTS_FUZZ_SIGNATURE_ORACLE_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "formats/signature_bundle.h"

namespace stockpot::testing {

// Inputs are "<statement> NUL <bundle>"; in the bundle, the word STATEMENT
// stands for the statement in base64, which mutations of it would destroy.
std::string BundleFromInput(absl::string_view input);

// What is wrong with `bundle` as the reading of `text`; "" if nothing: another
// payload, signature or hint than the JSON says, a key that stands twice, more
// than one signature, or other bytes to be signed than DSSE says.
std::string WrongInBundle(const SignatureBundle& bundle,
                          absl::string_view text);

// What is wrong with `files` as the reading of `payload`; "" if nothing: other
// files than the JSON says, a key or a file that stands twice, or a subject
// that is not the digest of them.
std::string WrongInSignedFiles(const std::map<std::string, Digest>& files,
                               absl::string_view payload);

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FUZZ_SIGNATURE_ORACLE_H_
