#include "registry/scrubber.h"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/options.h"

#include "base/log.h"
#include "base/status_macros.h"
#include "registry/adapter_index.h"
#include "registry/key_codec.h"
#include "registry/quarantine.h"
#include "registry/rocks_blob_reader.h"
#include "registry/rocks_db.h"
#include "registry/store_context.h"

namespace stockpot {
namespace {

constexpr absl::string_view kChecking = "check what it holds";
// After a pass in the background that could not read everything.
constexpr absl::Duration kRetryPause = absl::Minutes(10);
// Names of one blob that are shown.
constexpr size_t kMaxNamesOfBlob = 16;

absl::Status Ended() {
  return absl::CancelledError("the check was ended before its time");
}

}  // namespace

uint64_t ScrubRate(uint64_t stored_bytes, absl::Duration period) {
  const double seconds = absl::ToDoubleSeconds(period) * 0.9;
  return std::max(
      kLeastScrubRate,
      static_cast<uint64_t>(static_cast<double>(stored_bytes) / seconds + 1));
}

void Scrubber::Start(absl::Duration period) {
  period_ = period;
  {
    MutexLock lock(&mu_);
    stopped_ = false;
    next_pass_ =
        period > absl::ZeroDuration() ? absl::Now() : absl::InfiniteFuture();
  }
  thread_ = std::thread([this] { Loop(); });
}

void Scrubber::Stop() {
  {
    MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

absl::StatusOr<uint64_t> Scrubber::Verify(uint64_t bytes_per_second,
                                          ScrubWatcher* watcher) {
  MutexLock lock(&mu_);
  if (stopped_) {
    return absl::UnavailableError("the registry is closing");
  }
  if (asked_.has_value() || (running_.has_value() && running_->id != 0)) {
    return absl::FailedPreconditionError(
        "the registry is being checked already; ask again when that check has "
        "ended");
  }
  asked_ = Job{++last_id_, bytes_per_second, watcher, /*canceled=*/false};
  if (running_.has_value()) {
    running_->canceled = true;
  }
  changed_.SignalAll();
  return last_id_;
}

void Scrubber::Cancel(uint64_t id) {
  MutexLock lock(&mu_);
  for (std::optional<Job>* job : {&asked_, &running_}) {
    if (job->has_value() && (*job)->id == id) {
      (*job)->canceled = true;
    }
  }
  changed_.SignalAll();
}

Scrubber::Stats Scrubber::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

void Scrubber::Loop() {
  Job job;
  while (Next(&job)) {
    const absl::Time start = absl::Now();
    ScrubProgress progress;
    const absl::Status status = RunPass(job, &progress);
    Done(job, start, status);
    if (!absl::IsCancelled(status)) {
      context_->options.log(
          status.ok() ? Severity::kInfo : Severity::kError,
          absl::StrCat("checked ", progress.num_checked, " of ",
                       progress.num_blobs, " adapters, ",
                       progress.bytes_checked, " bytes, in ",
                       absl::FormatDuration(absl::Now() - start), ": ",
                       progress.damaged.size(), " are damaged",
                       status.ok() ? "" : "; ", status.message()));
    }
    if (job.watcher != nullptr) {
      job.watcher->OnEnd(status, progress);
    }
  }
}

bool Scrubber::Next(Job* job) {
  std::optional<Job> refused;
  {
    MutexLock lock(&mu_);
    while (!stopped_ && !asked_.has_value() && absl::Now() < next_pass_) {
      // In pieces: a clock that is set back must not make it wait for long.
      changed_.WaitFor(&mu_, std::min(next_pass_ - absl::Now(), kRetryPause));
    }
    if (!stopped_) {
      *job = asked_.value_or(Job{});
      running_ = *job;
      asked_.reset();
      return true;
    }
    refused = std::exchange(asked_, std::nullopt);
  }
  if (refused.has_value()) {
    refused->watcher->OnEnd(absl::UnavailableError("the registry is closing"),
                            ScrubProgress());
  }
  return false;
}

void Scrubber::Done(const Job& job, absl::Time start,
                    const absl::Status& status) {
  MutexLock lock(&mu_);
  running_.reset();
  if (status.ok()) {
    stats_.last_end = context_->options.clock();
  }
  if (period_ <= absl::ZeroDuration()) {
    return;
  }
  if (status.ok()) {
    next_pass_ = start + period_;
  } else if (job.id == 0 && !absl::IsCancelled(status)) {
    next_pass_ = absl::Now() + std::min(period_, kRetryPause);
  }
}

bool Scrubber::Pause(absl::Duration pause) {
  const absl::Time end = absl::Now() + pause;
  MutexLock lock(&mu_);
  while (!stopped_ && !running_->canceled) {
    const absl::Duration left = std::min(end - absl::Now(), pause);
    if (left <= absl::ZeroDuration()) {
      return true;
    }
    changed_.WaitFor(&mu_, std::min(left, kRetryPause));
  }
  return false;
}

absl::Duration Scrubber::TimeFor(const Job& job, size_t num_bytes) const {
  uint64_t rate = job.bytes_per_second;
  if (job.id == 0) {
    rate = ScrubRate(static_cast<uint64_t>(context_->ledger.totals().bytes),
                     period_);
  }
  return rate == 0 ? absl::ZeroDuration()
                   : absl::Seconds(static_cast<double>(num_bytes) /
                                   static_cast<double>(rate));
}

absl::Status Scrubber::RunPass(const Job& job, ScrubProgress* progress) {
  RETURN_IF_ERROR(CheckTables());
  ASSIGN_OR_RETURN(const std::vector<Digest> blobs, ListBlobs(job));
  progress->num_blobs = blobs.size();
  // Those whose header is missing are in no list.
  const absl::flat_hash_set<Digest> listed(blobs.begin(), blobs.end());
  for (const Digest& digest : context_->blobs.Quarantined()) {
    if (!listed.contains(digest)) {
      AddDamaged(digest, progress);
    }
  }
  absl::Status first_error;
  for (const Digest& digest : blobs) {
    absl::Status status = CheckBlob(job, digest, progress);
    if (absl::IsCancelled(status)) {
      return status;
    }
    if (!status.ok() && first_error.ok()) {
      // A bad spot on the disk must not hide what lies behind it.
      first_error = absl::Status(
          status.code(),
          absl::StrCat("adapter ", digest.ToString(), ": ", status.message()));
    }
    ++progress->num_checked;
    if (job.watcher != nullptr) {
      job.watcher->OnProgress(*progress);
    }
  }
  return first_error;
}

absl::Status Scrubber::CheckTables() {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  return context_->db->Convert(db->VerifyChecksum(), kChecking);
}

absl::StatusOr<std::vector<Digest>> Scrubber::ListBlobs(const Job& job) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
  std::vector<Digest> blobs;
  RangeIterator it(*db, kBlobKeys);
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    if (const std::optional<Digest> digest = ParseBlobKey(it.key())) {
      blobs.push_back(*digest);
    }
  }
  RETURN_IF_ERROR(context_->db->Convert(it->status(), kChecking));
  if (job.id == 0 && !blobs.empty()) {
    const size_t first = std::random_device()() % blobs.size();
    std::rotate(blobs.begin(), blobs.begin() + static_cast<ptrdiff_t>(first),
                blobs.end());
  }
  return blobs;
}

absl::Status Scrubber::CheckBlob(const Job& job, const Digest& digest,
                                 ScrubProgress* progress) {
  absl::Status status = ReadBlob(job, digest, progress);
  if (absl::IsCancelled(status)) {
    return status;
  }
  // Also if it was before, and now cannot be read for whatever reason.
  if (context_->blobs.IsQuarantined(digest)) {
    AddDamaged(digest, progress);
    return absl::OkStatus();
  }
  // Damage that is not there any more was healed or deleted meanwhile.
  return absl::IsDataLoss(status) ? absl::OkStatus() : status;
}

absl::Status Scrubber::ReadBlob(const Job& job, const Digest& digest,
                                ScrubProgress* progress) {
  std::shared_ptr<const BlobPin> pin = context_->blobs.Pin(digest);
  std::optional<AdapterIndex::BlobHeader> header;
  {
    ASSIGN_OR_RETURN(const RocksDb::Use db, context_->db->Acquire());
    absl::StatusOr<std::optional<AdapterIndex::BlobHeader>> found =
        AdapterIndex(context_->db.get(), *db).FindBlob(digest);
    if (absl::IsDataLoss(found.status()) &&
        !context_->blobs.IsQuarantined(digest)) {
      // Needs no mark: the audit sees it too.
      context_->blobs.Quarantine(digest);
      context_->options.log(
          Severity::kError,
          absl::StrCat("adapter ", digest.ToString(),
                       " is quarantined: ", found.status().message()));
    }
    ASSIGN_OR_RETURN(header, std::move(found));
  }
  if (!header.has_value()) {
    return absl::OkStatus();  // Deleted since it was listed.
  }
  const uint64_t upload_id = header->upload_id();
  RocksBlobReader reader(context_, digest, *std::move(header), std::move(pin));
  std::string chunk;
  while (!context_->blobs.IsDoomed(digest)) {
    const absl::Time start = absl::Now();
    ASSIGN_OR_RETURN(const bool more, reader.Next(&chunk));
    if (!more) {
      LiftQuarantine(context_, digest, upload_id);
      break;
    }
    progress->bytes_checked += chunk.size();
    {
      MutexLock lock(&mu_);
      stats_.bytes_checked += chunk.size();
    }
    if (job.watcher != nullptr) {
      job.watcher->OnProgress(*progress);
    }
    if (!Pause(TimeFor(job, chunk.size()) - (absl::Now() - start))) {
      return Ended();
    }
  }
  return absl::OkStatus();
}

void Scrubber::AddDamaged(const Digest& digest, ScrubProgress* progress) {
  std::vector<NameVersion> names;
  if (const absl::StatusOr<RocksDb::Use> db = context_->db->Acquire();
      db.ok()) {
    names = AdapterIndex(context_->db.get(), **db)
                .NamesOf(digest, kMaxNamesOfBlob)
                .value_or(std::vector<NameVersion>());
  }
  std::vector<std::string> texts;
  texts.reserve(names.size());
  for (const NameVersion& name : names) {
    texts.push_back(absl::StrCat(name.name, "@", name.version));
  }
  if (texts.empty()) {
    texts.push_back(digest.ToString());
  }
  for (std::string& text : texts) {
    if (progress->damaged.size() < ScrubProgress::kMaxNames) {
      progress->damaged.push_back(std::move(text));
    }
  }
}

}  // namespace stockpot
