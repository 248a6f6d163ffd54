#include "registry/chunk_source.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "rocksdb/options.h"
#include "rocksdb/status.h"

#include "base/status_macros.h"
#include "registry/key_codec.h"
#include "registry/rocks_db.h"

namespace stockpot {

ChunkSource::ChunkSource(RocksDb* db, uint64_t upload_id, uint64_t size_bytes,
                         uint32_t chunk_bytes)
    : db_(db),
      upload_id_(upload_id),
      size_bytes_(size_bytes),
      chunk_bytes_(chunk_bytes) {}

absl::Status ChunkSource::ReadChunk(uint32_t index, std::string* chunk) {
  ASSIGN_OR_RETURN(const RocksDb::Use db, db_->Acquire());
  const rocksdb::Status status =
      db->Get(rocksdb::ReadOptions(), ChunkKey({upload_id_, index}), chunk);
  if (!status.ok() && !status.IsNotFound()) {
    return db_->Convert(status, "read an adapter");
  }
  const uint64_t expected = std::min<uint64_t>(
      chunk_bytes_, size_bytes_ - uint64_t{index} * chunk_bytes_);
  if (status.IsNotFound() || chunk->size() != expected) {
    return absl::DataLossError(absl::StrCat(
        "the registry could not read an adapter: ",
        status.IsNotFound() ? "a part is missing" : "a part has a wrong size",
        "; upload the adapter again"));
  }
  return absl::OkStatus();
}

absl::Status ChunkSource::ReadAt(uint64_t offset, absl::Span<char> out) {
  if (offset > size_bytes_ || out.size() > size_bytes_ - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("bytes ", offset, " to ", offset, "+", out.size(),
                     " are not all within ", size_bytes_, " bytes"));
  }
  while (!out.empty()) {
    const uint64_t index = offset / chunk_bytes_;
    const size_t start = offset % chunk_bytes_;
    if (index != cached_index_) {
      cached_index_ = kNone;
      RETURN_IF_ERROR(ReadChunk(static_cast<uint32_t>(index), &cached_));
      cached_index_ = index;
    }
    const size_t length = std::min(out.size(), cached_.size() - start);
    std::memcpy(out.data(), cached_.data() + start, length);
    out.remove_prefix(length);
    offset += length;
  }
  return absl::OkStatus();
}

void ChunkSource::DropCache() {
  cached_index_ = kNone;
  cached_ = std::string();
}

}  // namespace stockpot
