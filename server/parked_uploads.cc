#include "server/parked_uploads.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/status_macros.h"

namespace stockpot {

namespace {

constexpr size_t kMinIdBytes = 16;
constexpr size_t kMaxIdBytes = 64;

}  // namespace

absl::Status ValidateUploadId(absl::string_view id) {
  const bool is_id = id.size() >= kMinIdBytes && id.size() <= kMaxIdBytes &&
                     std::all_of(id.begin(), id.end(), [](char c) {
                       return absl::ascii_isalnum(c) || c == '_' || c == '-';
                     });
  return is_id ? absl::OkStatus()
               : absl::InvalidArgumentError(absl::StrCat(
                     "upload_id has ", id.size(),
                     " bytes or other characters; expected ", kMinIdBytes,
                     " to ", kMaxIdBytes, " of a-z, A-Z, 0-9, _ and -"));
}

ParkedUploads::ParkedUploads(Options options)
    : options_([&] {
        if (options.clock == nullptr) {
          options.clock = absl::Now;
        }
        return std::move(options);
      }()) {
  if (is_on()) {
    sweeping_.Start(std::clamp(options_.window / 8, absl::Milliseconds(100),
                               absl::Minutes(1)),
                    [this] { DropExpired(); });
  }
}

absl::StatusOr<std::unique_ptr<UploadSession>> ParkedUploads::Claim(
    const std::string& id) {
  Sessions expired;  // Outlives the lock.
  MutexLock lock(&mu_);
  expired = TakeExpired();
  const auto [it, is_new] = entries_.try_emplace(id);
  if (!is_new && it->second.session == nullptr) {
    return absl::AbortedError(
        "another call sends the upload of this upload_id; if that call broke "
        "off, the server has not noticed yet: try again in a few seconds");
  }
  return std::move(it->second.session);
}

void ParkedUploads::SetReceived(const std::string& id,
                                uint64_t received_bytes) {
  MutexLock lock(&mu_);
  entries_[id].received_bytes = received_bytes;
}

void ParkedUploads::Release(const std::string& id,
                            std::unique_ptr<UploadSession> session) {
  Sessions dropped;  // Outlives the lock.
  MutexLock lock(&mu_);
  dropped = TakeExpired();
  if (session == nullptr) {
    entries_.erase(id);
    return;
  }
  Entry& entry = entries_[id];
  entry.received_bytes = session->received_bytes();
  entry.held_bytes = session->held_bytes();
  entry.expire_time = options_.clock() + options_.window;
  entry.session = std::move(session);
  TakeSurplus(&dropped);
}

absl::StatusOr<ParkedUploads::Progress> ParkedUploads::Find(
    const std::string& id) {
  RETURN_IF_ERROR(ValidateUploadId(id));
  Sessions expired;  // Outlives the lock.
  MutexLock lock(&mu_);
  expired = TakeExpired();
  const auto it = entries_.find(id);
  if (it == entries_.end()) {
    return absl::NotFoundError(
        "nothing is kept under this upload_id: it never began, ended, waited "
        "too long, or the server was started again; begin at resume_offset 0");
  }
  Progress progress;
  progress.received_bytes = it->second.received_bytes;
  if (it->second.session != nullptr) {
    progress.expire_time = it->second.expire_time;
  }
  return progress;
}

void ParkedUploads::DropExpired() {
  Sessions expired;  // Outlives the lock.
  MutexLock lock(&mu_);
  expired = TakeExpired();
}

size_t ParkedUploads::num_parked() const {
  MutexLock lock(&mu_);
  return static_cast<size_t>(std::count_if(
      entries_.begin(), entries_.end(),
      [](const auto& entry) { return entry.second.session != nullptr; }));
}

void ParkedUploads::SetGauges(Metrics* metrics) const {
  MutexLock lock(&mu_);
  uint64_t num_parked = 0;
  uint64_t bytes = 0;
  for (const auto& [id, entry] : entries_) {
    if (entry.session != nullptr) {
      ++num_parked;
      bytes += entry.received_bytes;
    }
  }
  metrics->registry_waiting_uploads.Set(static_cast<double>(num_parked));
  metrics->registry_waiting_upload_bytes.Set(static_cast<double>(bytes));
}

ParkedUploads::Sessions ParkedUploads::TakeExpired() {
  Sessions expired;
  const absl::Time now = options_.clock();
  absl::erase_if(entries_, [&](auto& item) {
    Entry& entry = item.second;
    if (entry.session == nullptr || entry.expire_time > now) {
      return false;
    }
    expired.push_back(std::move(entry.session));
    return true;
  });
  return expired;
}

void ParkedUploads::TakeSurplus(Sessions* out) {
  while (true) {
    size_t num_parked = 0;
    uint64_t held_bytes = 0;
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->second.session == nullptr) {
        continue;
      }
      ++num_parked;
      held_bytes += it->second.held_bytes;
      if (oldest == entries_.end() ||
          it->second.expire_time < oldest->second.expire_time) {
        oldest = it;
      }
    }
    if (oldest == entries_.end() || (num_parked <= options_.max_parked &&
                                     held_bytes <= options_.max_held_bytes)) {
      return;
    }
    out->push_back(std::move(oldest->second.session));
    entries_.erase(oldest);
  }
}

}  // namespace stockpot
