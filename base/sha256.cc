#include "base/sha256.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace stockpot {

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  STOCKPOT_CHECK(context_ != nullptr);
  STOCKPOT_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::Update(absl::string_view bytes) {
  STOCKPOT_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) ==
                 1);
}

void Sha256::UpdateFramed(absl::string_view bytes) {
  UpdateU64(bytes.size());
  Update(bytes);
}

void Sha256::UpdateU64(uint64_t value) {
  char raw[8];
  for (int i = 0; i < 8; ++i) {
    raw[i] = static_cast<char>(value >> (8 * i));
  }
  Update(absl::string_view(raw, sizeof(raw)));
}

Digest Sha256::Finish() {
  Digest digest;
  unsigned int size = 0;
  STOCKPOT_CHECK(
      EVP_DigestFinal_ex(context_.get(), digest.bytes.data(), &size) == 1);
  return digest;
}

Digest Sha256::Of(absl::string_view bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

}  // namespace stockpot
