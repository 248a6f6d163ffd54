#include "registry/namespace_ledger.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/mutex.h"
#include "base/retry_after.h"
#include "registry/adapter_ref.h"
#include "registry/namespace_quota.h"

namespace stockpot {
namespace {

absl::Status Exhausted(absl::string_view name_space, absl::string_view quota,
                       uint64_t used, uint64_t wanted, uint64_t limit,
                       absl::string_view cure) {
  return absl::ResourceExhaustedError(absl::StrCat(
      "the quota \"", quota, "\" of namespace \"",
      name_space.empty() ? kDefaultNamespace : name_space, "\" is ", limit,
      "; ", used, " are used and this upload takes ", wanted, "; ", cure));
}

// What has flowed back of `spent` since `then`.
double Left(double spent, absl::Time then, absl::Time now, uint32_t rate) {
  const double minutes = std::max(absl::ToDoubleMinutes(now - then), 0.0);
  return std::max(spent - minutes * rate, 0.0);
}

}  // namespace

absl::Status NamespaceLedger::Check(absl::string_view name_space,
                                    const Account& account,
                                    uint64_t size_bytes) const {
  constexpr absl::string_view kCure =
      "delete and purge adapters, or ask the operator for more";
  const NamespaceQuota& quota = quotas_.Of(name_space);
  const uint64_t adapters = static_cast<uint64_t>(account.stored.num_adapters +
                                                  account.pending.num_adapters);
  if (quota.max_adapters > 0 && adapters + 1 > quota.max_adapters) {
    return Exhausted(name_space, "adapters", adapters, 1, quota.max_adapters,
                     kCure);
  }
  const uint64_t bytes =
      static_cast<uint64_t>(account.stored.bytes + account.pending.bytes);
  if (quota.max_bytes > 0 && bytes + size_bytes > quota.max_bytes) {
    return Exhausted(name_space, "bytes", bytes, size_bytes, quota.max_bytes,
                     kCure);
  }
  return absl::OkStatus();
}

absl::Status NamespaceLedger::Spend(absl::string_view name_space,
                                    absl::Time now, Account* account) const {
  const uint32_t rate = quotas_.Of(name_space).uploads_per_minute;
  if (rate == 0) {
    return absl::OkStatus();
  }
  const double spent =
      Left(account->spent_uploads, account->spent_time, now, rate);
  if (spent + 1 > rate) {
    const absl::Duration wait = absl::Minutes((spent + 1 - rate) / rate);
    return WithRetryAfter(
        Exhausted(name_space, "uploads_per_minute",
                  static_cast<uint64_t>(spent), 1, rate,
                  absl::StrCat("try again in ", absl::FormatDuration(absl::Ceil(
                                                    wait, absl::Seconds(1))))),
        absl::Ceil(wait, absl::Milliseconds(1)));
  }
  account->spent_uploads = spent + 1;
  account->spent_time = now;
  return absl::OkStatus();
}

absl::Status NamespaceLedger::Admit(absl::string_view name_space,
                                    uint64_t size_bytes, absl::Time now) {
  MutexLock lock(&mu_);
  Prune(now);
  Account& account = accounts_[name_space];
  if (absl::Status status = Check(name_space, account, size_bytes);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = Spend(name_space, now, &account); !status.ok()) {
    return status;
  }
  ++account.pending.num_adapters;
  account.pending.bytes += static_cast<int64_t>(size_bytes);
  return absl::OkStatus();
}

void NamespaceLedger::Finish(absl::string_view name_space,
                             uint64_t size_bytes) {
  MutexLock lock(&mu_);
  Account& account = accounts_[name_space];
  --account.pending.num_adapters;
  account.pending.bytes -= static_cast<int64_t>(size_bytes);
}

void NamespaceLedger::Add(absl::string_view name_space,
                          const NamespaceUsage& change) {
  MutexLock lock(&mu_);
  Account& account = accounts_[name_space];
  account.stored.num_adapters += change.num_adapters;
  account.stored.bytes += change.bytes;
}

void NamespaceLedger::Reset(const NamespaceUsages& usages) {
  MutexLock lock(&mu_);
  for (auto& [name_space, account] : accounts_) {
    account.stored = NamespaceUsage();
  }
  for (const auto& [name_space, usage] : usages) {
    accounts_[name_space].stored = usage;
  }
}

NamespaceUsage NamespaceLedger::Usage(absl::string_view name_space) const {
  MutexLock lock(&mu_);
  const auto it = accounts_.find(name_space);
  return it != accounts_.end() ? it->second.stored : NamespaceUsage();
}

size_t NamespaceLedger::size() const {
  MutexLock lock(&mu_);
  return accounts_.size();
}

void NamespaceLedger::Prune(absl::Time now) {
  if (accounts_.size() <= prune_above_) {
    return;
  }
  absl::erase_if(accounts_, [&](const auto& entry) {
    const Account& account = entry.second;
    return account.stored.num_adapters == 0 &&
           account.pending.num_adapters == 0 &&
           Left(account.spent_uploads, account.spent_time, now,
                quotas_.Of(entry.first).uploads_per_minute) == 0;
  });
  prune_above_ = std::max<size_t>(1024, 2 * accounts_.size());
}

}  // namespace stockpot
