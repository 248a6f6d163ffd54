// Quarantine of blobs whose stored bytes were found damaged while the store was
// open: nobody reads them, and a mark in the database keeps it so after the
// next start. What the audit finds when it opens the database needs no mark.
//
// A mark names the upload whose bytes it means, so that one which stayed behind
// says nothing of bytes that came later. It goes in the batch that replaces or
// removes the blob. A mark that could not be written is missed after a restart,
// until the damage is found again; one whose blob reads well is lifted by the
// scrubber. Free functions over one store's context; thread-safe.

#ifndef STOCKPOT_REGISTRY_QUARANTINE_H_
#define STOCKPOT_REGISTRY_QUARANTINE_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "registry/store_context.h"

namespace stockpot {

// What lies at DamageMarkKey() of a blob whose bytes came with `upload_id`.
std::string EncodeDamageMark(uint64_t upload_id);
// The reverse; 0, which no upload has, for other bytes.
uint64_t ParseDamageMark(absl::string_view bytes);

// Puts `digest` in quarantine because the bytes of `upload_id` are damaged, as
// `why` says, unless it was deleted or uploaded again meanwhile, or is there
// already. REQUIRES: the thread holds no Use.
void QuarantineBlob(StoreContext* context, const Digest& digest,
                    uint64_t upload_id, absl::string_view why)
    ABSL_LOCKS_EXCLUDED(context->commit_mu);

// Takes `digest`, whose bytes of `upload_id` were read and are whole, out of it
// again, unless it is not there or holds other bytes by now.
// REQUIRES: the thread holds no Use.
void LiftQuarantine(StoreContext* context, const Digest& digest,
                    uint64_t upload_id) ABSL_LOCKS_EXCLUDED(context->commit_mu);

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_QUARANTINE_H_
