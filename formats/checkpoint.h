// A Checkpoint is the tensors of a base model's directory, in one
// model.safetensors or in the shards that model.safetensors.index.json lists.
//
// Immutable after Open and safe to read from many threads. Bytes are mapped,
// not copied.

#ifndef STOCKPOT_FORMATS_CHECKPOINT_H_
#define STOCKPOT_FORMATS_CHECKPOINT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "formats/mapped_file.h"
#include "formats/safetensors.h"

namespace stockpot {

struct TensorView {
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  // The elements, row-major and little-endian. Not aligned. Valid while the
  // Checkpoint lives.
  absl::string_view bytes;
};

class Checkpoint {
 public:
  // Opens the directory `dir` and parses every header in it. The index wins
  // when both forms are there, as in transformers.
  //
  // Errors: NotFound when there is no safetensors file, saying how to convert
  // when there is a pickle (pytorch_model.bin); InvalidArgument for a broken
  // header, an index whose shard names are not plain file names, a tensor in
  // two shards, or an index that names a tensor which its shard lacks.
  static absl::StatusOr<Checkpoint> Open(const std::string& dir);

  Checkpoint(Checkpoint&&) = default;
  Checkpoint& operator=(Checkpoint&&) = default;

  // Errors: NotFound, which names the tensor and the directory.
  absl::StatusOr<TensorView> Find(absl::string_view name) const;
  bool Contains(absl::string_view name) const;

  // Sorted.
  std::vector<std::string> Names() const;

  // Sum of the tensors' bytes.
  uint64_t num_bytes() const { return num_bytes_; }

  // Lets the kernel take the mapped pages back; see MappedFile.
  void DropPages() const;

 private:
  struct Shard {
    std::string file_name;
    MappedFile file;
    SafetensorsHeader header;
  };
  struct Location {
    size_t shard = 0;
    size_t tensor = 0;
  };

  explicit Checkpoint(std::string dir) : dir_(std::move(dir)) {}

  absl::Status AddShard(const std::string& file_name);
  absl::Status OpenIndex(const std::string& index_path);

  std::string dir_;
  std::vector<Shard> shards_;
  absl::flat_hash_map<std::string, Location> locations_;
  uint64_t num_bytes_ = 0;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_CHECKPOINT_H_
