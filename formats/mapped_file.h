// A MappedFile is a whole file mapped read-only.
//
// The pages are the page cache's: they cost no memory of this process's own,
// and are read when touched. Const methods are safe from many threads. A file
// that another program shortens while it is mapped makes reads beyond its new
// end fatal (SIGBUS); map only directories that the operator owns.

#ifndef STOCKPOT_FORMATS_MAPPED_FILE_H_
#define STOCKPOT_FORMATS_MAPPED_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

class MappedFile {
 public:
  // Maps the regular file at `path`. An empty file gives empty bytes().
  // Errors: NotFound, PermissionDenied; InvalidArgument for a directory or a
  // device; Internal for what the kernel refuses beyond that.
  static absl::StatusOr<MappedFile> Open(const std::string& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  // Valid while this object lives; moving the object keeps them.
  absl::string_view bytes() const { return {data_, size_}; }

  // Lets the kernel take the pages back, e.g. once they were copied to where
  // they are used. bytes() stays valid and is read from the file again.
  void DropPages() const;

 private:
  MappedFile(const char* data, size_t size) : data_(data), size_(size) {}

  const char* data_ = nullptr;
  size_t size_ = 0;
};

// Reads the regular file at `path` whole.
// Errors: as MappedFile::Open; InvalidArgument when it has more than
// `max_bytes` bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_MAPPED_FILE_H_
