#include "base/public_key.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"

namespace stockpot {
namespace {

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, FreeBio>;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Never asks a terminal for a password.
int NoPassword(char*, int, int, void*) { return 0; }

// Sets what signatures of `key` hash with; false for a kind that is not known.
bool FindHash(const EVP_PKEY* key, const EVP_MD** hash) {
  *hash = nullptr;
  if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
    return true;
  }
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) {
    return false;
  }
  char group[64] = {};
  if (EVP_PKEY_get_group_name(key, group, sizeof(group), nullptr) != 1) {
    return false;
  }
  const absl::string_view curve = group;
  *hash = curve == "prime256v1"  ? EVP_sha256()
          : curve == "secp384r1" ? EVP_sha384()
          : curve == "secp521r1" ? EVP_sha512()
                                 : nullptr;
  return *hash != nullptr;
}

std::string ToPem(EVP_PKEY* key) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  if (out == nullptr || PEM_write_bio_PUBKEY(out.get(), key) != 1) {
    return "";
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

void PublicKey::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

PublicKey::PublicKey(std::unique_ptr<evp_pkey_st, Free> key,
                     const evp_md_st* hash, std::string pem)
    : key_(std::move(key)), hash_(hash), pem_(std::move(pem)) {}
PublicKey::~PublicKey() = default;
PublicKey::PublicKey(PublicKey&&) noexcept = default;
PublicKey& PublicKey::operator=(PublicKey&&) noexcept = default;

absl::StatusOr<PublicKey> PublicKey::FromPem(absl::string_view pem) {
  if (pem.size() > kMaxPemBytes) {
    return absl::InvalidArgumentError("a public key has at most 64 KiB");
  }
  if (absl::StrContains(pem, "PRIVATE KEY-----")) {
    return absl::InvalidArgumentError(
        "this is a private key, which belongs nowhere but with its signer; "
        "`openssl pkey -in KEY -pubout` writes the public one");
  }
  const BioPtr in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::unique_ptr<evp_pkey_st, Free> key;
  if (in != nullptr) {
    key.reset(PEM_read_bio_PUBKEY(in.get(), nullptr, NoPassword, nullptr));
  }
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        "not a public key in PEM; expected -----BEGIN PUBLIC KEY-----, as "
        "`openssl pkey -in KEY -pubout` writes it");
  }
  const EVP_MD* hash = nullptr;
  if (!FindHash(key.get(), &hash)) {
    return absl::UnimplementedError(
        "a key of another kind; expected ECDSA on P-256, P-384 or P-521, or "
        "Ed25519");
  }
  std::string canonical = ToPem(key.get());
  return PublicKey(std::move(key), hash, std::move(canonical));
}

bool PublicKey::Verifies(absl::string_view message,
                         absl::string_view signature) const {
  const auto bytes = [](absl::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  };
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  const bool is_good =
      context != nullptr &&
      EVP_DigestVerifyInit(context.get(), nullptr, hash_, nullptr,
                           key_.get()) == 1 &&
      EVP_DigestVerify(context.get(), bytes(signature), signature.size(),
                       bytes(message), message.size()) == 1;
  ERR_clear_error();
  return is_good;
}

}  // namespace stockpot
