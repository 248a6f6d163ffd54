#include "client/adapter_directory.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "base/status_macros.h"

namespace stockpot {
namespace {

namespace fs = std::filesystem;

constexpr char kConfigName[] = "adapter_config.json";
constexpr char kWeightsName[] = "adapter_model.safetensors";
constexpr char kPickleName[] = "adapter_model.bin";
constexpr size_t kMaxConfigBytes = size_t{256} << 10;
constexpr size_t kMaxNameBytes = 128;
// Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
constexpr absl::string_view kLfsPointer =
    "version https://git-lfs.github.com/spec/v1";

bool Exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

absl::Status PointerError(const fs::path& path) {
  return absl::InvalidArgumentError(absl::StrCat(
      path.string(),
      " is a git-lfs pointer, not the file itself; run `git lfs pull` in ",
      path.parent_path().string()));
}

absl::Status PickleError(const fs::path& directory) {
  return absl::InvalidArgumentError(absl::StrCat(
      directory.string(), " holds ", kPickleName,
      ", a pickle, which can run code when it is read and is never accepted; "
      "convert it to safetensors: python3 -c \"import torch, "
      "safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in "
      "torch.load('",
      kPickleName, "', map_location='cpu', weights_only=True).items()}, '",
      kWeightsName, "')\""));
}

absl::StatusOr<std::string> ReadConfig(const fs::path& path) {
  ASSIGN_OR_RETURN(std::string text,
                   ReadTextFile(path.string(), kMaxConfigBytes));
  if (absl::StartsWith(text, kLfsPointer)) {
    return PointerError(path);
  }
  const auto json = nlohmann::json::parse(text, /*cb=*/nullptr,
                                          /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), " is not a JSON object"));
  }
  return text;
}

absl::Status CheckFilesExist(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) {
    return absl::NotFoundError(
        absl::StrCat(directory.string(), ": no such directory"));
  }
  if (!Exists(directory / kConfigName)) {
    return absl::NotFoundError(absl::StrCat(
        directory.string(), " holds no ", kConfigName,
        "; expected a PEFT directory as model.save_pretrained() writes it"));
  }
  if (Exists(directory / kWeightsName)) {
    return absl::OkStatus();
  }
  if (Exists(directory / kPickleName)) {
    return PickleError(directory);
  }
  return absl::NotFoundError(
      absl::StrCat(directory.string(), " holds no ", kWeightsName));
}

}  // namespace

absl::Status ForEachChunk(const fs::path& path,
                          const std::function<bool(absl::string_view)>& consume,
                          uint64_t offset) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat(path.string(), ": ", std::strerror(errno)));
  }
  file.seekg(static_cast<std::streamoff>(offset));
  const auto buffer = std::make_unique<char[]>(kChunkBytes);
  while (file) {
    file.read(buffer.get(), kChunkBytes);
    const auto size = static_cast<size_t>(file.gcount());
    if (size > 0 && !consume(absl::string_view(buffer.get(), size))) {
      return absl::OkStatus();
    }
  }
  if (file.bad()) {
    return absl::DataLossError(absl::StrCat(path.string(), ": reading failed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         size_t max_bytes) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a directory, expected a file"));
  }
  std::string text;
  RETURN_IF_ERROR(ForEachChunk(path, [&](absl::string_view chunk) {
    text.append(chunk.data(), chunk.size());
    return text.size() <= max_bytes;
  }));
  if (text.size() > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is larger than ", max_bytes, " bytes"));
  }
  return text;
}

std::string DirectoryName(const std::string& path) {
  std::error_code error;
  return fs::canonical(path, error).filename().string();
}

absl::StatusOr<AdapterDirectory> ReadAdapterDirectory(
    const std::string& path,
    const std::function<void(uint64_t, uint64_t)>& progress) {
  const fs::path directory(path);
  RETURN_IF_ERROR(CheckFilesExist(directory));
  AdapterDirectory adapter;
  ASSIGN_OR_RETURN(adapter.config, ReadConfig(directory / kConfigName));
  adapter.weights_path = directory / kWeightsName;
  std::error_code error;
  adapter.name = DirectoryName(path);
  const uint64_t expected_bytes = fs::file_size(adapter.weights_path, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(adapter.weights_path.string(), ": ", error.message()));
  }
  Sha256 sha256;
  bool is_pointer = false;
  RETURN_IF_ERROR(
      ForEachChunk(adapter.weights_path, [&](absl::string_view chunk) {
        is_pointer |=
            adapter.size_bytes == 0 && absl::StartsWith(chunk, kLfsPointer);
        sha256.Update(chunk);
        adapter.size_bytes += chunk.size();
        if (progress) {
          progress(adapter.size_bytes, expected_bytes);
        }
        return !is_pointer;
      }));
  if (is_pointer) {
    return PointerError(adapter.weights_path);
  }
  if (adapter.size_bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(adapter.weights_path.string(), " is empty"));
  }
  adapter.sha256 = sha256.Finish();
  return adapter;
}

absl::Status CheckAdapterName(absl::string_view name) {
  const auto is_alnum = [](char c) {
    return absl::ascii_isdigit(c) || absl::ascii_islower(c);
  };
  const auto is_inner = [&](char c) {
    return is_alnum(c) || c == '.' || c == '_' || c == '-';
  };
  const auto is_part = [&](absl::string_view part) {
    return !part.empty() && is_alnum(part.front()) && is_alnum(part.back()) &&
           std::all_of(part.begin(), part.end(), is_inner);
  };
  // The server knows more about namespaces.
  const size_t slash = name.find('/');
  const bool has_namespace = slash != absl::string_view::npos;
  if (name.size() <= kMaxNameBytes &&
      is_part(has_namespace ? name.substr(slash + 1) : name) &&
      (!has_namespace || is_part(name.substr(0, slash)))) {
    return absl::OkStatus();
  }
  std::string proposal = absl::AsciiStrToLower(name.substr(0, kMaxNameBytes));
  std::replace_if(
      proposal.begin(), proposal.end(), [&](char c) { return !is_inner(c); },
      '-');
  while (!proposal.empty() && !is_alnum(proposal.front())) {
    proposal.erase(0, 1);
  }
  while (!proposal.empty() && !is_alnum(proposal.back())) {
    proposal.pop_back();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", name,
      "' cannot name an adapter (a-z and 0-9, with . _ - inside, at "
      "most ",
      kMaxNameBytes, " bytes); try --name ",
      proposal.empty() ? "my-skill" : proposal));
}

AdapterDirectoryWriter::AdapterDirectoryWriter(fs::path directory)
    : directory_(std::move(directory)),
      weights_temporary_(absl::StrCat((directory_ / kWeightsName).string(),
                                      ".part-", getpid())),
      weights_(weights_temporary_, std::ios::binary | std::ios::trunc) {}

absl::StatusOr<std::unique_ptr<AdapterDirectoryWriter>>
AdapterDirectoryWriter::Open(const std::string& path, bool overwrite) {
  const fs::path directory(path);
  std::error_code error;
  fs::create_directories(directory, error);
  for (const char* name : {kConfigName, kWeightsName}) {
    if (!overwrite && Exists(directory / name)) {
      return absl::AlreadyExistsError(
          absl::StrCat((directory / name).string(),
                       " is there already; --force overwrites it"));
    }
  }
  // Not make_unique: the constructor is private.
  std::unique_ptr<AdapterDirectoryWriter> writer(
      new AdapterDirectoryWriter(directory));
  if (!writer->weights_) {
    return absl::PermissionDeniedError(absl::StrCat(
        writer->weights_temporary_, ": cannot be written: ",
        error ? error.message() : std::string(std::strerror(errno))));
  }
  return writer;
}

AdapterDirectoryWriter::~AdapterDirectoryWriter() {
  if (!weights_temporary_.empty()) {
    std::error_code ignored;
    fs::remove(weights_temporary_, ignored);
  }
}

absl::Status AdapterDirectoryWriter::Append(absl::string_view chunk) {
  sha256_.Update(chunk);
  num_bytes_ += chunk.size();
  weights_.write(chunk.data(), static_cast<std::streamsize>(chunk.size()));
  if (!weights_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        weights_temporary_, ": writing failed: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

absl::Status AdapterDirectoryWriter::Commit(absl::string_view config,
                                            uint64_t size_bytes,
                                            absl::string_view sha256_hex) {
  const std::string found = sha256_.Finish().ToHex();
  if (num_bytes_ != size_bytes || found != sha256_hex) {
    return absl::DataLossError(absl::StrCat(
        "the bytes that arrived are not the adapter's: ", num_bytes_,
        " bytes with SHA-256 ", found, ", expected ", size_bytes,
        " bytes with SHA-256 ", sha256_hex, "; nothing was written"));
  }
  weights_.close();
  const std::string config_temporary =
      absl::StrCat((directory_ / kConfigName).string(), ".part-", getpid());
  std::ofstream config_file(config_temporary, std::ios::binary);
  config_file.write(config.data(), static_cast<std::streamsize>(config.size()));
  config_file.close();
  std::error_code error;
  if (!weights_ || !config_file) {
    fs::remove(config_temporary, error);
    return absl::ResourceExhaustedError(
        absl::StrCat(directory_.string(), ": writing failed; disk full?"));
  }
  fs::rename(weights_temporary_, directory_ / kWeightsName, error);
  if (!error) {
    weights_temporary_.clear();
    fs::rename(config_temporary, directory_ / kConfigName, error);
  }
  if (error) {
    return absl::PermissionDeniedError(
        absl::StrCat(directory_.string(), ": ", error.message()));
  }
  return absl::OkStatus();
}

}  // namespace stockpot
