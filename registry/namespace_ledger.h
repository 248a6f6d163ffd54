// A NamespaceLedger counts what each namespace stores and uploads, and refuses
// what is beyond its quota. Thread-safe; never blocks on the disk.

#ifndef STOCKPOT_REGISTRY_NAMESPACE_LEDGER_H_
#define STOCKPOT_REGISTRY_NAMESPACE_LEDGER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "registry/namespace_quota.h"

namespace stockpot {

struct NamespaceUsage {
  int64_t num_adapters = 0;  // Versions, deleted ones included.
  int64_t bytes = 0;         // Of each of these, in full.
};

using NamespaceUsages = absl::flat_hash_map<std::string, NamespaceUsage>;

class NamespaceLedger {
 public:
  explicit NamespaceLedger(NamespaceQuotas quotas)
      : quotas_(std::move(quotas)) {}

  // Admits an upload of `size_bytes`; every admitted one is given back by
  // Finish(). Errors: ResourceExhausted, naming the quota, its limit and what
  // is used; that of the rate says when to try again.
  absl::Status Admit(absl::string_view name_space, uint64_t size_bytes,
                     absl::Time now) ABSL_LOCKS_EXCLUDED(mu_);
  void Finish(absl::string_view name_space, uint64_t size_bytes)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Adds `change`, whose numbers may be negative.
  void Add(absl::string_view name_space, const NamespaceUsage& change)
      ABSL_LOCKS_EXCLUDED(mu_);

  // Sets what an audit counted.
  void Reset(const NamespaceUsages& usages) ABSL_LOCKS_EXCLUDED(mu_);

  NamespaceUsage Usage(absl::string_view name_space) const
      ABSL_LOCKS_EXCLUDED(mu_);
  // Namespaces that it remembers.
  size_t size() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Account {
    NamespaceUsage stored;
    NamespaceUsage pending;    // Of uploads under way.
    double spent_uploads = 0;  // Of the rate, at `spent_time`; flows back.
    absl::Time spent_time;
  };

  absl::Status Check(absl::string_view name_space, const Account& account,
                     uint64_t size_bytes) const;
  absl::Status Spend(absl::string_view name_space, absl::Time now,
                     Account* account) const;
  // Forgets accounts that say nothing, once there are many: clients make up
  // namespaces.
  void Prune(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const NamespaceQuotas quotas_;

  mutable Mutex mu_;
  absl::flat_hash_map<std::string, Account> accounts_ ABSL_GUARDED_BY(mu_);
  size_t prune_above_ ABSL_GUARDED_BY(mu_) = 1024;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_NAMESPACE_LEDGER_H_
