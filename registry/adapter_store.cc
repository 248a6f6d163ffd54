#include "registry/adapter_store.h"

#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "base/sha256.h"

namespace stockpot {

Digest ContentDigest(absl::string_view canonical_config,
                     const Digest& safetensors_sha256) {
  Sha256 hash;
  hash.UpdateFramed(canonical_config);
  hash.UpdateFramed(absl::string_view(
      reinterpret_cast<const char*>(safetensors_sha256.bytes.data()),
      safetensors_sha256.bytes.size()));
  return hash.Finish();
}

}  // namespace stockpot
