#include "formats/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

constexpr char kSingleFile[] = "model.safetensors";
constexpr char kIndexFile[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 64 << 20;
constexpr size_t kMaxShards = 1024;

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// `status` with the file's name before its message.
absl::Status InFile(const absl::Status& status, absl::string_view file_name) {
  return absl::Status(status.code(),
                      absl::StrCat(file_name, ": ", status.message()));
}

bool IsPlainFileName(absl::string_view name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' &&
         name.find_first_of(absl::string_view("/\\\0", 3)) ==
             absl::string_view::npos;
}

absl::Status NoSafetensors(const std::string& dir) {
  const bool has_pickle = Exists(dir + "/pytorch_model.bin") ||
                          Exists(dir + "/pytorch_model.bin.index.json");
  if (!has_pickle) {
    return absl::NotFoundError(
        absl::StrCat(dir, " has neither ", kSingleFile, " nor ", kIndexFile));
  }
  return absl::NotFoundError(absl::StrCat(
      dir,
      " has only pickled weights (pytorch_model.bin), which are never read "
      "because they can run code; convert them where you trust them: python "
      "-c \"from transformers import AutoModelForCausalLM as M; "
      "M.from_pretrained('DIR').save_pretrained('DIR', "
      "safe_serialization=True)\""));
}

// tensor name -> shard file name.
using WeightMap = std::map<std::string, std::string>;

absl::StatusOr<WeightMap> ParseIndex(absl::string_view text) {
  ASSIGN_OR_RETURN(
      const nlohmann::json root,
      ParseJson(text, {.max_bytes = kMaxIndexBytes, .max_depth = 8}));
  const nlohmann::json* entries = FindNonNull(root, "weight_map");
  if (entries == nullptr || !entries->is_object() || entries->empty()) {
    return absl::InvalidArgumentError(
        "field \"weight_map\" must be an object that is not empty");
  }
  WeightMap weight_map;
  for (const auto& [name, file] : entries->items()) {
    if (!file.is_string() ||
        !IsPlainFileName(file.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"weight_map\": the value of ", Quoted(name),
          " must be the name of a file in the same directory, got ",
          file.is_string() ? Quoted(file.get_ref<const std::string&>())
                           : file.type_name()));
    }
    weight_map[name] = file.get<std::string>();
  }
  return weight_map;
}

}  // namespace

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& dir) {
  Checkpoint checkpoint(dir);
  const std::string index_path = absl::StrCat(dir, "/", kIndexFile);
  if (Exists(absl::StrCat(dir, "/", kSingleFile)) && !Exists(index_path)) {
    RETURN_IF_ERROR(checkpoint.AddShard(kSingleFile));
  } else if (Exists(index_path)) {
    RETURN_IF_ERROR(checkpoint.OpenIndex(index_path));
  } else {
    return NoSafetensors(dir);
  }
  return checkpoint;
}

absl::Status Checkpoint::OpenIndex(const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFile(index_path, kMaxIndexBytes));
  absl::StatusOr<WeightMap> weight_map = ParseIndex(text);
  if (!weight_map.ok()) {
    return InFile(weight_map.status(), kIndexFile);
  }
  std::set<std::string> file_names;
  for (const auto& [name, file_name] : *weight_map) {
    file_names.insert(file_name);
  }
  if (file_names.size() > kMaxShards) {
    return absl::InvalidArgumentError(
        absl::StrCat(kIndexFile, ": ", file_names.size(), " shards; at most ",
                     kMaxShards, " are allowed"));
  }
  for (const std::string& file_name : file_names) {
    RETURN_IF_ERROR(AddShard(file_name));
  }
  for (const auto& [name, file_name] : *weight_map) {
    auto it = locations_.find(name);
    if (it == locations_.end() ||
        shards_[it->second.shard].file_name != file_name) {
      return absl::InvalidArgumentError(
          absl::StrCat(kIndexFile, ": tensor ", Quoted(name),
                       " is not in the shard that it names, ", file_name));
    }
  }
  return absl::OkStatus();
}

absl::Status Checkpoint::AddShard(const std::string& file_name) {
  ASSIGN_OR_RETURN(MappedFile file,
                   MappedFile::Open(absl::StrCat(dir_, "/", file_name)));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(file.bytes(), file.bytes().size(), ModelLimits());
  if (!header.ok()) {
    return InFile(header.status(), file_name);
  }
  const size_t shard = shards_.size();
  for (size_t i = 0; i < header->tensors.size(); ++i) {
    const TensorInfo& tensor = header->tensors[i];
    auto [it, is_new] = locations_.try_emplace(tensor.name, Location{shard, i});
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", Quoted(tensor.name), " is in two shards, ",
          shards_[it->second.shard].file_name, " and ", file_name));
    }
    num_bytes_ += tensor.num_bytes();
  }
  shards_.push_back({file_name, std::move(file), *std::move(header)});
  return absl::OkStatus();
}

absl::StatusOr<TensorView> Checkpoint::Find(absl::string_view name) const {
  auto it = locations_.find(name);
  if (it == locations_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no tensor ", Quoted(name), " in ", dir_));
  }
  const Shard& shard = shards_[it->second.shard];
  const TensorInfo& tensor = shard.header.tensors[it->second.tensor];
  TensorView view;
  view.dtype = tensor.dtype;
  view.shape = tensor.shape;
  view.bytes = shard.file.bytes().substr(
      shard.header.data_offset + tensor.begin, tensor.num_bytes());
  return view;
}

bool Checkpoint::Contains(absl::string_view name) const {
  return locations_.contains(name);
}

std::vector<std::string> Checkpoint::Names() const {
  std::vector<std::string> names;
  names.reserve(locations_.size());
  for (const auto& [name, location] : locations_) {
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

void Checkpoint::DropPages() const {
  for (const Shard& shard : shards_) {
    shard.file.DropPages();
  }
}

}  // namespace stockpot
