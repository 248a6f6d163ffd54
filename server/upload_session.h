// An UploadSession is one upload from its metadata to its commit: the store's
// part of it, and the validator that sees the same bytes. It may outlive the
// call that began it (ParkedUploads). Not thread-safe.

#ifndef STOCKPOT_SERVER_UPLOAD_SESSION_H_
#define STOCKPOT_SERVER_UPLOAD_SESSION_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "proto/stockpot/v1/registry.pb.h"

#include "merge/adapter_validator.h"
#include "registry/adapter_store.h"
#include "server/serving.h"

namespace stockpot {

class UploadSession {
 public:
  static constexpr size_t kMaxChunkBytes = size_t{1} << 20;

  // `serving` must outlive the session. Blocks on storage.
  // Errors: InvalidArgument or Unimplemented, naming the field of `metadata`;
  // those of the signature and of AdapterStore::BeginUpload().
  static absl::StatusOr<std::unique_ptr<UploadSession>> Begin(
      const v1::AdapterMetadata& metadata, const Serving& serving);

  // OK if `metadata` declares this very upload, wherever its chunks start.
  // Errors: InvalidArgument, naming the first field that differs.
  absl::Status CheckSame(const v1::AdapterMetadata& metadata) const;

  // Takes the next bytes of the file. Blocks on storage.
  // Errors: InvalidArgument (empty, too long, more than declared, or what
  // AdapterValidator refuses); those of Upload::Append().
  absl::Status Append(absl::string_view chunk);

  // What Append() took.
  uint64_t received_bytes() const { return upload_->received_bytes(); }
  bool has_all() const { return received_bytes() == metadata_.size_bytes(); }

  // Blocks on storage, and may compute for a minute. Errors: InvalidArgument
  // (bytes are missing or are not those declared); those of
  // AdapterValidator::Finish() and Upload::Commit().
  absl::StatusOr<CommitResult> Commit();

  // True until something failed: only then may it go on.
  bool is_intact() const { return is_intact_; }
  // Memory that it keeps while nothing comes.
  uint64_t held_bytes() const;

 private:
  UploadSession(const Serving& serving, v1::AdapterMetadata metadata,
                std::unique_ptr<AdapterValidator> validator,
                std::unique_ptr<Upload> upload)
      : serving_(serving),
        metadata_(std::move(metadata)),
        validator_(std::move(validator)),
        upload_(std::move(upload)) {}

  absl::Status Take(absl::string_view chunk);

  const Serving& serving_;
  const v1::AdapterMetadata metadata_;
  const std::unique_ptr<AdapterValidator> validator_;
  const std::unique_ptr<Upload> upload_;
  bool is_intact_ = true;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_UPLOAD_SESSION_H_
