// The safetensors header: a table of named tensors over one data section.
//
// A file is 8 bytes of little-endian N, N bytes of JSON, and the data section.
// The parser sees only the first 8 + N bytes, so that an upload can be judged
// before its weights arrive and a mapped file before a page of it is touched.
// All functions are pure and safe to call from many threads.
//
// Source: the safetensors README and its Rust reader, src/tensor.rs.

#ifndef STOCKPOT_FORMATS_SAFETENSORS_H_
#define STOCKPOT_FORMATS_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

enum class Dtype : uint8_t {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
};

// Bytes of one element.
int64_t DtypeBytes(Dtype dtype);
// The name in the file, e.g. "BF16".
absl::string_view DtypeName(Dtype dtype);
// The inverse of DtypeName; nullopt for a name that is not in the enum.
std::optional<Dtype> DtypeFromName(absl::string_view name);

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  // Row-major; empty for a scalar. Entries are >= 0.
  std::vector<int64_t> shape;
  // Bytes [begin, end) of the data section hold the elements.
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t num_bytes() const { return end - begin; }
  int64_t num_elements() const {
    return static_cast<int64_t>(num_bytes()) / DtypeBytes(dtype);
  }
};

// "[8, 768]".
std::string ShapeString(const std::vector<int64_t>& shape);

struct SafetensorsHeader {
  // Sorted by begin, ties (tensors without elements) by name. Together they
  // cover the data section without holes and without overlap.
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  // Where the data section begins in the file: 8 + N.
  uint64_t data_offset = 0;

  // Returns the tensor called `name`, or null. Linear; callers with many names
  // build their own index.
  const TensorInfo* Find(absl::string_view name) const;
};

struct SafetensorsLimits {
  uint64_t max_header_bytes = 0;  // of N
  int64_t max_tensors = 0;
  size_t max_name_bytes = 0;
  // Names hold only [A-Za-z0-9._-].
  bool strict_names = true;
  // The header is padded with spaces only, as the format says; false takes any
  // JSON whitespace, as the reference reader does.
  bool strict_padding = true;
};

// For an adapter that a stranger uploads: 1 MiB, 8192 tensors, names of 256
// bytes. A rank-16 adapter over every linear layer of an 80-layer model has a
// header of about 150 KiB.
SafetensorsLimits AdapterLimits();
// For a base model on the operator's disk: 100 MB, as the reference reader.
SafetensorsLimits ModelLimits();

// Returns 8 + N, the bytes up to the data section, from `prefix`, the first 8
// bytes of a file of `file_bytes` bytes. A stream reader buffers that many.
//
// Errors: InvalidArgument for a file too short for its header or a header
// beyond the limits. Files that are something else - a pickle or zip checkpoint
// (.bin, .pt), GGUF, a git-lfs pointer - are told so, with what to do.
absl::StatusOr<uint64_t> SafetensorsHeaderBytes(
    absl::string_view prefix, uint64_t file_bytes,
    const SafetensorsLimits& limits);

// Parses the header. `head` holds at least the first 8 + N bytes of the file,
// whose whole length is `file_bytes`.
//
// The rules of the reference reader and these on top: no key twice at any
// level, no other key in a tensor's entry, every number a plain non-negative
// integer, the header starts with '{'.
// Errors: InvalidArgument, which names the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::string_view head, uint64_t file_bytes,
    const SafetensorsLimits& limits);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_SAFETENSORS_H_
