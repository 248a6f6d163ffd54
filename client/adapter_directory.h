// AdapterDirectory is a PEFT directory on the caller's disk, as
// model.save_pretrained() writes it: adapter_config.json and
// adapter_model.safetensors. Downloads write the same two files.

#ifndef STOCKPOT_CLIENT_ADAPTER_DIRECTORY_H_
#define STOCKPOT_CLIENT_ADAPTER_DIRECTORY_H_

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/sha256.h"

namespace stockpot {

// Bytes read, hashed and sent at once.
inline constexpr size_t kChunkBytes = size_t{1} << 20;

struct AdapterDirectory {
  std::filesystem::path weights_path;
  std::string name;         // The directory's own name, not checked.
  std::string config;       // Text of adapter_config.json: a JSON object.
  uint64_t size_bytes = 0;  // Of adapter_model.safetensors; not 0.
  Digest sha256;            // Of adapter_model.safetensors.
};

// The name of the directory at `path`, without those above it; empty if it is
// not there.
std::string DirectoryName(const std::string& path);

// Reads the configuration and hashes the weights, kChunkBytes at a time;
// `progress` is told the bytes done and in all, and may be empty.
//
// Errors: NotFound without the directory or one of its files; InvalidArgument
// for pickled weights, a git-lfs pointer in place of a file, a configuration
// that is no JSON object or over 256 KiB, and empty weights. The message says
// how to put it right.
absl::StatusOr<AdapterDirectory> ReadAdapterDirectory(
    const std::string& path,
    const std::function<void(uint64_t, uint64_t)>& progress);

// OK if `name` can name an adapter in the registry; otherwise InvalidArgument
// that proposes one that can.
absl::Status CheckAdapterName(absl::string_view name);

// Calls `consume` with each chunk of the file in order, from byte `offset` on,
// and stops without an error when it returns false. The chunk is valid during
// the call. Errors: NotFound, DataLoss if reading fails.
absl::Status ForEachChunk(const std::filesystem::path& path,
                          const std::function<bool(absl::string_view)>& consume,
                          uint64_t offset = 0);

// The text of the file at `path`. Errors: NotFound; InvalidArgument over
// `max_bytes`.
absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         size_t max_bytes);

// Writes an adapter beside its final place and moves it there when all of it
// has proved right; until then, and if it is dropped, the directory's
// adapter is as before. Not thread-safe.
class AdapterDirectoryWriter {
 public:
  // Makes the directory if needed.
  // Errors: AlreadyExists if it holds an adapter and not `overwrite`;
  // PermissionDenied if it cannot be written.
  static absl::StatusOr<std::unique_ptr<AdapterDirectoryWriter>> Open(
      const std::string& path, bool overwrite);
  ~AdapterDirectoryWriter();
  AdapterDirectoryWriter(const AdapterDirectoryWriter&) = delete;
  AdapterDirectoryWriter& operator=(const AdapterDirectoryWriter&) = delete;

  // Appends to the weights. Errors: ResourceExhausted if the disk is full.
  absl::Status Append(absl::string_view chunk);

  // Puts both files into place.
  // Errors: DataLoss if the weights written have another size or hash.
  absl::Status Commit(absl::string_view config, uint64_t size_bytes,
                      absl::string_view sha256_hex);

 private:
  explicit AdapterDirectoryWriter(std::filesystem::path directory);

  const std::filesystem::path directory_;
  std::string weights_temporary_;  // Empty once the file is in its place.
  std::ofstream weights_;
  Sha256 sha256_;
  uint64_t num_bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_ADAPTER_DIRECTORY_H_
