#include "client/backup_directory.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <system_error>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "base/digest.h"
#include "base/status_macros.h"
#include "client/adapter_directory.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kManifestName[] = "stockpot-backup.json";
constexpr char kFilesName[] = "files";
constexpr char kPartialName[] = "files.partial";
constexpr char kTargetSuffix[] = ".partial";
constexpr char kKind[] = "stockpot-backup";
constexpr int kManifestVersion = 1;
constexpr size_t kMaxFileNameBytes = 255;
// Some 130 bytes for each file of at least some megabytes.
constexpr size_t kMaxManifestBytes = size_t{256} << 20;

// RocksDB's names and no others: they come from a server, or from a file that
// anybody may have changed, and become paths.
absl::Status CheckFileName(absl::string_view name) {
  const bool good = std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  });
  if (good && !name.empty() && name[0] != '.' &&
      name.size() <= kMaxFileNameBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", name,
      "' cannot be a file of a backup: expected letters, digits, . "
      "_ - and no . in front"));
}

std::string ToText(const BackupManifest& manifest) {
  Json files = Json::array();
  for (const BackupFileEntry& file : manifest.files) {
    files.push_back({{"name", file.name},
                     {"size_bytes", file.size_bytes},
                     {"sha256", file.sha256}});
  }
  const Json json = {{"kind", kKind},
                     {"version", kManifestVersion},
                     {"registry_format", manifest.format_version},
                     {"create_time", manifest.create_time},
                     {"num_files", manifest.files.size()},
                     {"size_bytes", manifest.size_bytes()},
                     {"sha256", manifest.sha256()},
                     {"files", std::move(files)}};
  return json.dump(1) + "\n";
}

// The value of `key`, or a value of the same type that means nothing.
template <typename T>
T Get(const Json& json, const char* key) {
  const auto found = json.is_object() ? json.find(key) : json.end();
  if constexpr (std::is_same_v<T, std::string>) {
    return found != json.end() && found->is_string() ? found->get<T>() : T();
  } else {
    return found != json.end() && found->is_number_unsigned() ? found->get<T>()
                                                              : T();
  }
}

absl::Status Damaged(const fs::path& path, absl::string_view why) {
  return absl::DataLossError(absl::StrCat(path.string(), " is damaged: ", why,
                                          "; use another backup"));
}

// Copies or only reads a file, and compares it with `entry`. `to` may be null.
absl::Status CheckFile(const fs::path& path, const BackupFileEntry& entry,
                       DurableFile* to, uint64_t done_before,
                       const BackupProgress& progress) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) {
    // Opening a pipe would wait for somebody who writes to it.
    return Damaged(path, "it is not a file");
  }
  Sha256 hash;
  uint64_t num_bytes = 0;
  absl::Status written;
  const absl::Status read = ForEachChunk(path, [&](absl::string_view chunk) {
    hash.Update(chunk);
    num_bytes += chunk.size();
    if (to != nullptr) {
      written = to->Append(chunk);
    }
    progress(done_before + num_bytes);
    return written.ok() && num_bytes <= entry.size_bytes;
  });
  RETURN_IF_ERROR(written);
  if (absl::IsNotFound(read)) {
    return Damaged(path, "it is missing");
  }
  RETURN_IF_ERROR(read);
  if (num_bytes != entry.size_bytes) {
    return Damaged(path, absl::StrCat("it has ",
                                      num_bytes > entry.size_bytes
                                          ? "more than "
                                          : absl::StrCat(num_bytes, " of "),
                                      entry.size_bytes, " bytes"));
  }
  const std::string found = hash.Finish().ToHex();
  return found == entry.sha256
             ? absl::OkStatus()
             : Damaged(path, absl::StrCat("its SHA-256 is ", found,
                                          ", expected ", entry.sha256));
}

absl::Status CopyFiles(const std::string& directory,
                       const BackupManifest& manifest, const fs::path& to,
                       const BackupProgress& progress) {
  uint64_t done = 0;
  for (const BackupFileEntry& entry : manifest.files) {
    ASSIGN_OR_RETURN(const std::unique_ptr<DurableFile> file,
                     DurableFile::Create(to / entry.name));
    RETURN_IF_ERROR(CheckFile(fs::path(directory) / kFilesName / entry.name,
                              entry, file.get(), done, progress));
    RETURN_IF_ERROR(file->Close());
    done += entry.size_bytes;
  }
  return SyncFolder(to);
}

// A folder can only be renamed within one file system.
absl::Status CheckNotMounted(const fs::path& folder) {
  struct stat own = {};
  struct stat above = {};
  if (stat(folder.c_str(), &own) == 0 &&
      stat(folder.parent_path().c_str(), &above) == 0 &&
      own.st_dev != above.st_dev) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder.string(),
                     " is where a volume is mounted; give a folder inside it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BackupManifest> ParseManifest(const fs::path& path,
                                             const std::string& text) {
  const Json json = Json::parse(text, /*cb=*/nullptr,
                                /*allow_exceptions=*/false);
  if (Get<std::string>(json, "kind") != kKind) {
    return Damaged(path, "it does not describe a backup");
  }
  if (Get<uint64_t>(json, "version") > kManifestVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        path.string(), " was written by a newer stockpot, in version ",
        Get<uint64_t>(json, "version"), "; this one reads up to ",
        kManifestVersion));
  }
  BackupManifest manifest;
  manifest.format_version = Get<uint32_t>(json, "registry_format");
  manifest.create_time = Get<std::string>(json, "create_time");
  const auto files = json.find("files");
  if (files == json.end() || !files->is_array()) {
    return Damaged(path, "it lists no files");
  }
  std::set<std::string> names;
  for (const Json& file : *files) {
    BackupFileEntry entry;
    entry.name = Get<std::string>(file, "name");
    entry.size_bytes = Get<uint64_t>(file, "size_bytes");
    entry.sha256 = Get<std::string>(file, "sha256");
    if (const absl::Status status = CheckFileName(entry.name); !status.ok()) {
      return Damaged(path, status.message());
    }
    if (!names.insert(entry.name).second) {
      return Damaged(path, absl::StrCat("it lists ", entry.name, " twice"));
    }
    manifest.files.push_back(std::move(entry));
  }
  if (manifest.sha256() != Get<std::string>(json, "sha256")) {
    return Damaged(path, "its list of files is not the one that was written");
  }
  return manifest;
}

}  // namespace

uint64_t BackupManifest::size_bytes() const {
  uint64_t sum = 0;
  for (const BackupFileEntry& file : files) {
    sum += file.size_bytes;
  }
  return sum;
}

std::string BackupManifest::sha256() const {
  Sha256 hash;
  hash.UpdateU64(format_version);
  hash.UpdateFramed(create_time);
  hash.UpdateU64(files.size());
  for (const BackupFileEntry& file : files) {
    hash.UpdateFramed(file.name);
    hash.UpdateU64(file.size_bytes);
    hash.UpdateFramed(file.sha256);
  }
  return hash.Finish().ToHex();
}

BackupWriter::BackupWriter(fs::path directory, bool made_directory)
    : directory_(std::move(directory)), made_directory_(made_directory) {}

absl::StatusOr<std::unique_ptr<BackupWriter>> BackupWriter::Open(
    const std::string& directory) {
  bool made = false;
  RETURN_IF_ERROR(ClaimEmptyFolder(directory, &made));
  // Not make_unique: the constructor is private.
  std::unique_ptr<BackupWriter> writer(new BackupWriter(directory, made));
  RETURN_IF_ERROR(ClaimEmptyFolder(writer->directory_ / kPartialName, &made));
  return writer;
}

BackupWriter::~BackupWriter() {
  if (committed_) {
    return;
  }
  std::error_code ignored;
  fs::remove_all(directory_ / kPartialName, ignored);
  fs::remove(directory_ / kManifestName, ignored);
  if (made_directory_) {
    fs::remove(directory_, ignored);
  }
}

absl::Status BackupWriter::BeginFile(absl::string_view name,
                                     uint64_t size_bytes) {
  if (file_ != nullptr) {
    return absl::DataLossError(absl::StrCat("the server begins file ", name,
                                            " before the end of another"));
  }
  RETURN_IF_ERROR(CheckFileName(name));
  BackupFileEntry entry;
  entry.name = std::string(name);
  entry.size_bytes = size_bytes;
  ASSIGN_OR_RETURN(file_,
                   DurableFile::Create(directory_ / kPartialName / entry.name));
  manifest_.files.push_back(std::move(entry));
  num_file_bytes_ = 0;
  hash_ = Sha256();
  return absl::OkStatus();
}

absl::Status BackupWriter::Append(absl::string_view bytes) {
  if (file_ == nullptr) {
    return absl::DataLossError("the server sends bytes of no file");
  }
  const BackupFileEntry& entry = manifest_.files.back();
  num_file_bytes_ += bytes.size();
  num_bytes_ += bytes.size();
  if (num_file_bytes_ > entry.size_bytes) {
    return absl::DataLossError(absl::StrCat("the server sends more than the ",
                                            entry.size_bytes, " bytes of ",
                                            entry.name));
  }
  hash_.Update(bytes);
  return file_->Append(bytes);
}

absl::Status BackupWriter::EndFile(absl::string_view sha256_hex) {
  if (file_ == nullptr) {
    return absl::DataLossError("the server ends a file that it did not begin");
  }
  BackupFileEntry& entry = manifest_.files.back();
  entry.sha256 = hash_.Finish().ToHex();
  if (num_file_bytes_ != entry.size_bytes || entry.sha256 != sha256_hex) {
    return absl::DataLossError(absl::StrCat(
        "the bytes of ", entry.name, " that arrived are not those sent: ",
        num_file_bytes_, " bytes with SHA-256 ", entry.sha256, ", expected ",
        entry.size_bytes, " bytes with SHA-256 ", sha256_hex));
  }
  const absl::Status closed = file_->Close();
  file_.reset();
  return closed;
}

absl::StatusOr<BackupManifest> BackupWriter::Commit(uint32_t num_files,
                                                    uint64_t size_bytes,
                                                    uint32_t format_version) {
  if (file_ != nullptr || num_files != manifest_.files.size() ||
      size_bytes != num_bytes_) {
    return absl::DataLossError(
        absl::StrCat("the backup is not whole: ", manifest_.files.size(),
                     " files of ", num_bytes_, " bytes arrived, ", num_files,
                     " of ", size_bytes, " bytes were sent"));
  }
  manifest_.format_version = format_version;
  manifest_.create_time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  RETURN_IF_ERROR(SyncFolder(directory_ / kPartialName));
  ASSIGN_OR_RETURN(const std::unique_ptr<DurableFile> file,
                   DurableFile::Create(directory_ / kManifestName));
  RETURN_IF_ERROR(file->Append(ToText(manifest_)));
  RETURN_IF_ERROR(file->Close());
  RETURN_IF_ERROR(
      RenameDurably(directory_ / kPartialName, directory_ / kFilesName));
  committed_ = true;
  if (made_directory_) {
    RETURN_IF_ERROR(SyncFolder(fs::absolute(directory_).parent_path()));
  }
  return manifest_;
}

absl::StatusOr<BackupManifest> ReadBackupManifest(
    const std::string& directory) {
  const fs::path folder(directory);
  std::error_code error;
  if (fs::exists(folder / kPartialName, error)) {
    return absl::DataLossError(absl::StrCat(
        directory, " holds ", kPartialName,
        ": this backup was cut and is not whole; delete it and make another"));
  }
  const absl::StatusOr<std::string> text =
      ReadTextFile((folder / kManifestName).string(), kMaxManifestBytes);
  if (!text.ok()) {
    return absl::Status(text.status().code(),
                        absl::StrCat(text.status().message(),
                                     "; expected a folder that "
                                     "`stockpot hub backup` has written"));
  }
  return ParseManifest(folder / kManifestName, *text);
}

std::vector<std::string> VerifyBackup(const std::string& directory,
                                      const BackupManifest& manifest,
                                      const BackupProgress& progress) {
  std::vector<std::string> faults;
  uint64_t done = 0;
  for (const BackupFileEntry& entry : manifest.files) {
    const absl::Status status =
        CheckFile(fs::path(directory) / kFilesName / entry.name, entry,
                  /*to=*/nullptr, done, progress);
    if (!status.ok()) {
      faults.emplace_back(status.message());
    }
    done += entry.size_bytes;
  }
  return faults;
}

absl::Status RestoreBackup(const std::string& directory,
                           const BackupManifest& manifest,
                           const std::string& target,
                           const BackupProgress& progress) {
  const fs::path path =
      (fs::absolute(target) / "").lexically_normal().parent_path();
  bool made = false;
  RETURN_IF_ERROR(ClaimEmptyFolder(path, &made));
  RETURN_IF_ERROR(CheckNotMounted(path));
  const fs::path partial = path.string() + kTargetSuffix;
  std::error_code ignored;
  bool made_partial = false;
  absl::Status status = ClaimEmptyFolder(partial, &made_partial);
  if (status.ok() && !made_partial) {
    status = absl::AlreadyExistsError(
        absl::StrCat(partial.string(),
                     " is there already, perhaps from a restore that was "
                     "cut; delete it"));
  }
  if (status.ok()) {
    status = CopyFiles(directory, manifest, partial, progress);
  }
  if (status.ok()) {
    // Over the empty folder.
    status = RenameDurably(partial, path);
  }
  if (!status.ok()) {
    if (made_partial) {
      fs::remove_all(partial, ignored);
    }
    if (made) {
      fs::remove(path, ignored);
    }
  }
  return status;
}

}  // namespace stockpot
