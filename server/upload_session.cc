#include "server/upload_session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/model_card.h"
#include "server/signing_keys.h"

namespace stockpot {

namespace {

absl::StatusOr<UploadSpec> ToSpec(const v1::AdapterMetadata& metadata) {
  UploadSpec spec;
  spec.name = metadata.name();
  if (metadata.has_version()) {
    spec.version = metadata.version();
  }
  spec.labels.insert(metadata.labels().begin(), metadata.labels().end());
  spec.description = metadata.description();
  spec.card = metadata.card();
  spec.license = metadata.license().empty() ? LicenseOfCard(metadata.card())
                                            : metadata.license();
  spec.adapter_config = metadata.adapter_config();
  spec.size_bytes = metadata.size_bytes();
  absl::StatusOr<Digest> sha256 = Digest::FromHex(metadata.sha256());
  if (!sha256.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("metadata.sha256: ", sha256.status().message()));
  }
  spec.sha256 = *sha256;
  return spec;
}

bool SameLabels(const v1::AdapterMetadata& a, const v1::AdapterMetadata& b) {
  return a.labels_size() == b.labels_size() &&
         std::all_of(a.labels().begin(), a.labels().end(), [&](auto& label) {
           const auto it = b.labels().find(label.first);
           return it != b.labels().end() && it->second == label.second;
         });
}

// The first field of the declaration that differs, or null.
const char* FindDifference(const v1::AdapterMetadata& a,
                           const v1::AdapterMetadata& b) {
  if (a.name() != b.name()) return "name";
  if (a.has_version() != b.has_version() || a.version() != b.version()) {
    return "version";
  }
  if (a.size_bytes() != b.size_bytes()) return "size_bytes";
  if (a.sha256() != b.sha256()) return "sha256";
  if (a.adapter_config() != b.adapter_config()) return "adapter_config";
  if (!SameLabels(a, b)) return "labels";
  if (a.description() != b.description()) return "description";
  if (a.card() != b.card()) return "card";
  if (a.license() != b.license()) return "license";
  if (a.signature() != b.signature()) return "signature";
  return nullptr;
}

// The key that signed what `metadata` declares; empty if that is not known.
absl::StatusOr<std::string> FindSigner(const v1::AdapterMetadata& metadata,
                                       const Digest& weights,
                                       const Serving& serving) {
  if (metadata.signature().empty()) {
    return serving.require_signature
               ? absl::StatusOr<std::string>(absl::FailedPreconditionError(
                     "metadata.signature is empty, but this server takes only "
                     "signed adapters (--require_signature): sign the "
                     "directory with `model_signing sign key`"))
               : std::string();
  }
  // Without keys nobody's signature says anything here.
  return serving.signing_keys == nullptr || serving.signing_keys->empty()
             ? std::string()
             : serving.signing_keys->FindSigner(
                   metadata.signature(), metadata.adapter_config(), weights);
}

}  // namespace

absl::StatusOr<std::unique_ptr<UploadSession>> UploadSession::Begin(
    const v1::AdapterMetadata& metadata, const Serving& serving) {
  ASSIGN_OR_RETURN(UploadSpec spec, ToSpec(metadata));
  ASSIGN_OR_RETURN(spec.signer, FindSigner(metadata, spec.sha256, serving));
  ASSIGN_OR_RETURN(
      std::unique_ptr<AdapterValidator> validator,
      AdapterValidator::Create(metadata.adapter_config(), metadata.size_bytes(),
                               serving.model.modules, serving.measure));
  ASSIGN_OR_RETURN(std::unique_ptr<Upload> upload,
                   serving.store->BeginUpload(std::move(spec)));
  return std::unique_ptr<UploadSession>(new UploadSession(
      serving, metadata, std::move(validator), std::move(upload)));
}

absl::Status UploadSession::CheckSame(
    const v1::AdapterMetadata& metadata) const {
  const char* const field = FindDifference(metadata_, metadata);
  return field == nullptr
             ? absl::OkStatus()
             : absl::InvalidArgumentError(absl::StrCat(
                   "metadata.", field,
                   " is not what the upload of this upload_id began with; "
                   "send the same, or begin another upload under another "
                   "upload_id"));
}

absl::Status UploadSession::Append(absl::string_view chunk) {
  absl::Status status = Take(chunk);
  is_intact_ = is_intact_ && status.ok();
  return status;
}

absl::Status UploadSession::Take(absl::string_view chunk) {
  // Nothing comes of one, and a client could send them for ever.
  if (chunk.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the chunk after byte ", received_bytes(),
                     " is empty; a chunk has at least one byte"));
  }
  if (chunk.size() > kMaxChunkBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a chunk has ", chunk.size(), " bytes; at most ", kMaxChunkBytes));
  }
  serving_.metrics->upload_bytes.Add(static_cast<double>(chunk.size()));
  // The store refuses bytes beyond the declared size, so it goes first.
  RETURN_IF_ERROR(upload_->Append(chunk));
  return validator_->Feed(chunk);
}

absl::StatusOr<CommitResult> UploadSession::Commit() {
  is_intact_ = false;  // Right or wrong, this was its end.
  RETURN_IF_ERROR(upload_->CheckComplete());
  ASSIGN_OR_RETURN(const AdapterFacts facts,
                   validator_->Finish(serving_.model.digest));
  return upload_->Commit(facts);
}

uint64_t UploadSession::held_bytes() const {
  return metadata_.ByteSizeLong() + validator_->held_bytes() + kBlobChunkBytes;
}

}  // namespace stockpot
