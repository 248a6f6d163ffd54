// SigningKeys are the public keys whose signatures over an upload count.
// Immutable; safe to use from many threads.

#ifndef STOCKPOT_SERVER_SIGNING_KEYS_H_
#define STOCKPOT_SERVER_SIGNING_KEYS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "base/public_key.h"

namespace stockpot {

class SigningKeys {
 public:
  // Reads the keys of "NAME=PATH,NAME=PATH", PEM files; none from an empty
  // text. A name is [a-zA-Z0-9._-]{1,64}.
  // Errors: InvalidArgument, NotFound, Unimplemented, naming the entry.
  static absl::StatusOr<SigningKeys> Load(absl::string_view flag);

  bool empty() const { return keys_.empty(); }

  // The name of the key that signed exactly this config and these weights, as
  // the Sigstore bundle `signature` says.
  // Errors: InvalidArgument (not such a bundle, or for other files);
  // PermissionDenied (none of these keys made it).
  absl::StatusOr<std::string> FindSigner(absl::string_view signature,
                                         absl::string_view adapter_config,
                                         const Digest& weights) const;

 private:
  struct Key {
    std::string name;
    std::string hint;  // SignatureBundle::key_hint of its signatures.
    PublicKey key;
  };

  std::vector<Key> keys_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_SIGNING_KEYS_H_
