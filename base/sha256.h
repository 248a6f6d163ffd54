// Sha256 hashes bytes that arrive in pieces (FIPS 180-4, by OpenSSL).
// Not thread-safe; one instance hashes one message.

#ifndef STOCKPOT_BASE_SHA256_H_
#define STOCKPOT_BASE_SHA256_H_

#include <cstdint>
#include <memory>

#include "absl/strings/string_view.h"

#include "base/digest.h"

struct evp_md_ctx_st;

namespace stockpot {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(absl::string_view bytes);

  // Appends a length-prefixed string, so that ("ab", "c") and ("a", "bc") hash
  // to different values.
  void UpdateFramed(absl::string_view bytes);
  // Appends eight bytes, least significant first.
  void UpdateU64(uint64_t value);

  // Ends the message. REQUIRES: called once, and last.
  Digest Finish();

  static Digest Of(absl::string_view bytes);

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace stockpot

#endif  // STOCKPOT_BASE_SHA256_H_
