// A PublicKey checks signatures made with the private key that belongs to it.
// Immutable; safe to use from many threads. By OpenSSL.

#ifndef STOCKPOT_BASE_PUBLIC_KEY_H_
#define STOCKPOT_BASE_PUBLIC_KEY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_pkey_st;
struct evp_md_st;

namespace stockpot {

class PublicKey {
 public:
  static constexpr size_t kMaxPemBytes = size_t{64} << 10;

  // Reads "-----BEGIN PUBLIC KEY-----" (RFC 7468, SubjectPublicKeyInfo).
  // Errors: InvalidArgument for another text or a private key; Unimplemented
  // for a kind of key other than ECDSA on P-256, P-384 or P-521, and Ed25519.
  static absl::StatusOr<PublicKey> FromPem(absl::string_view pem);
  ~PublicKey();
  PublicKey(PublicKey&&) noexcept;
  PublicKey& operator=(PublicKey&&) noexcept;

  // True if `signature` was made over `message`: of ECDSA the DER form, over
  // SHA-256, SHA-384 and SHA-512 for the three curves; of Ed25519 64 bytes.
  bool Verifies(absl::string_view message, absl::string_view signature) const;

  // The key as PEM, in the one form that every writer of PEM agrees on.
  const std::string& pem() const { return pem_; }

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };

  PublicKey(std::unique_ptr<evp_pkey_st, Free> key, const evp_md_st* hash,
            std::string pem);

  std::unique_ptr<evp_pkey_st, Free> key_;
  const evp_md_st* hash_;  // Null for Ed25519, which hashes by itself.
  std::string pem_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BASE_PUBLIC_KEY_H_
