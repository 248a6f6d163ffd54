// A ChunkSource reads the chunks of one upload back. Not thread-safe; the
// database outlives it. Holds at most one chunk.

#ifndef STOCKPOT_REGISTRY_CHUNK_SOURCE_H_
#define STOCKPOT_REGISTRY_CHUNK_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "registry/rocks_db.h"

namespace stockpot {

// Chunks of a blob of `size_bytes`, when each but the last has `chunk_bytes`.
constexpr uint64_t NumChunks(uint64_t size_bytes, uint64_t chunk_bytes) {
  return size_bytes / chunk_bytes + (size_bytes % chunk_bytes != 0 ? 1 : 0);
}

class ChunkSource {
 public:
  // REQUIRES: chunk_bytes > 0.
  ChunkSource(RocksDb* db, uint64_t upload_id, uint64_t size_bytes,
              uint32_t chunk_bytes);

  uint64_t num_chunks() const { return NumChunks(size_bytes_, chunk_bytes_); }

  // Sets `chunk` to the chunk `index` < num_chunks().
  // Errors: DataLoss (missing, damaged or of the wrong size); Unavailable.
  absl::Status ReadChunk(uint32_t index, std::string* chunk);

  // Fills `out` from byte `offset`. Errors: OutOfRange; as ReadChunk().
  absl::Status ReadAt(uint64_t offset, absl::Span<char> out);

  // Forgets the chunk that it holds.
  void DropCache();

 private:
  static constexpr uint64_t kNone = ~uint64_t{0};

  RocksDb* const db_;
  const uint64_t upload_id_;
  const uint64_t size_bytes_;
  const uint32_t chunk_bytes_;
  uint64_t cached_index_ = kNone;
  std::string cached_;
};

}  // namespace stockpot

#endif  // STOCKPOT_REGISTRY_CHUNK_SOURCE_H_
