#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "base/status_macros.h"
#include "formats/json.h"
#include "formats/quoted.h"

namespace stockpot {
namespace {

constexpr uint64_t kPrefixBytes = 8;
constexpr absl::string_view kMetadataKey = "__metadata__";
// No tensor of any model has more; keeps shapes small in memory.
constexpr size_t kMaxTensorRank = 32;

struct DtypeRow {
  Dtype dtype;
  absl::string_view name;
  int64_t num_bytes;
};

constexpr std::array<DtypeRow, 15> kDtypes = {{
    {Dtype::kF64, "F64", 8},
    {Dtype::kF32, "F32", 4},
    {Dtype::kF16, "F16", 2},
    {Dtype::kBF16, "BF16", 2},
    {Dtype::kF8E4M3, "F8_E4M3", 1},
    {Dtype::kF8E5M2, "F8_E5M2", 1},
    {Dtype::kI64, "I64", 8},
    {Dtype::kI32, "I32", 4},
    {Dtype::kI16, "I16", 2},
    {Dtype::kI8, "I8", 1},
    {Dtype::kU64, "U64", 8},
    {Dtype::kU32, "U32", 4},
    {Dtype::kU16, "U16", 2},
    {Dtype::kU8, "U8", 1},
    {Dtype::kBool, "BOOL", 1},
}};

template <typename... Args>
absl::Status TensorError(absl::string_view name, const Args&... args) {
  return absl::InvalidArgumentError(
      absl::StrCat("safetensors: tensor ", Quoted(name), ": ", args...));
}

// What the file really is, when its first bytes say so; OK otherwise.
absl::Status RecogniseOtherFormat(absl::string_view prefix) {
  const bool is_zip = absl::StartsWith(prefix, "PK\x03\x04");
  const bool is_pickle = prefix.size() >= 2 && prefix[0] == '\x80' &&
                         prefix[1] >= '\x02' && prefix[1] <= '\x05';
  if (is_zip || is_pickle) {
    return absl::InvalidArgumentError(absl::StrCat(
        "this is a ", is_zip ? "zip" : "pickle",
        " checkpoint (torch.save: .bin, .pt), not safetensors, and pickles are "
        "never read because they can run code; convert it where you trust it: "
        "python -c \"import torch; from safetensors.torch import save_file; "
        "save_file({k: v.contiguous() for k, v in torch.load('IN.bin', "
        "map_location='cpu', weights_only=True).items()}, "
        "'OUT.safetensors')\""));
  }
  if (absl::StartsWith(prefix, "version ")) {
    return absl::InvalidArgumentError(
        "this is a git-lfs pointer, not the weights; run `git lfs pull` in the "
        "repository that it came from and send the fetched file");
  }
  if (absl::StartsWith(prefix, "GGUF")) {
    return absl::InvalidArgumentError(
        "this is a GGUF file, not safetensors; use the safetensors file that "
        "it was converted from");
  }
  return absl::OkStatus();
}

absl::Status CheckName(absl::string_view name,
                       const SafetensorsLimits& limits) {
  if (name.empty()) {
    return absl::InvalidArgumentError(
        "safetensors: a tensor has an empty name");
  }
  if (name.size() > limits.max_name_bytes) {
    return TensorError(name, "the name has ", name.size(), " bytes; at most ",
                       limits.max_name_bytes, " are allowed");
  }
  const auto is_plain = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
           c == '_' || c == '-';
  };
  if (limits.strict_names && !std::all_of(name.begin(), name.end(), is_plain)) {
    return TensorError(name,
                       "a name may only hold letters, digits, '.', '_' and "
                       "'-'");
  }
  return absl::OkStatus();
}

// Reads `value` as a non-negative integer below 2^63.
bool ReadSize(const nlohmann::json& value, uint64_t* size) {
  if (!value.is_number_unsigned()) {
    return false;
  }
  *size = value.get<uint64_t>();
  return *size <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

absl::Status ReadShape(const nlohmann::json& entry, TensorInfo* tensor,
                       uint64_t* num_bytes) {
  const nlohmann::json* shape = FindNonNull(entry, "shape");
  if (shape == nullptr || !shape->is_array()) {
    return TensorError(tensor->name, "\"shape\" must be an array");
  }
  if (shape->size() > kMaxTensorRank) {
    return TensorError(tensor->name, "has ", shape->size(),
                       " dimensions; at most ", kMaxTensorRank, " are allowed");
  }
  *num_bytes = static_cast<uint64_t>(DtypeBytes(tensor->dtype));
  for (const nlohmann::json& item : *shape) {
    uint64_t size = 0;
    if (!ReadSize(item, &size)) {
      return TensorError(tensor->name,
                         "\"shape\" must hold plain non-negative integers "
                         "below 2^63");
    }
    if (__builtin_mul_overflow(*num_bytes, size, num_bytes)) {
      return TensorError(tensor->name,
                         "the shape's product does not fit 64 bits");
    }
    tensor->shape.push_back(static_cast<int64_t>(size));
  }
  return absl::OkStatus();
}

absl::Status ReadOffsets(const nlohmann::json& entry, TensorInfo* tensor) {
  const nlohmann::json* offsets = FindNonNull(entry, "data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2 ||
      !ReadSize((*offsets)[0], &tensor->begin) ||
      !ReadSize((*offsets)[1], &tensor->end)) {
    return TensorError(tensor->name,
                       "\"data_offsets\" must be two plain non-negative "
                       "integers, [begin, end]");
  }
  if (tensor->end < tensor->begin) {
    return TensorError(tensor->name, "its data ends (", tensor->end,
                       ") before it begins (", tensor->begin, ")");
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorInfo> ReadTensor(const std::string& name,
                                      const nlohmann::json& entry) {
  TensorInfo tensor;
  tensor.name = name;
  if (!entry.is_object()) {
    return TensorError(name, "its entry must be an object, got ",
                       entry.type_name());
  }
  for (const auto& [key, value] : entry.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return TensorError(name, "unknown key ", Quoted(key),
                         "; expected dtype, shape, data_offsets");
    }
  }
  const nlohmann::json* dtype = FindNonNull(entry, "dtype");
  if (dtype == nullptr || !dtype->is_string()) {
    return TensorError(name, "\"dtype\" must be a string");
  }
  const std::string& dtype_name = dtype->get_ref<const std::string&>();
  const std::optional<Dtype> known = DtypeFromName(dtype_name);
  if (!known.has_value()) {
    return TensorError(name, "dtype ", Quoted(dtype_name), " is not supported");
  }
  tensor.dtype = *known;
  uint64_t num_bytes = 0;
  RETURN_IF_ERROR(ReadShape(entry, &tensor, &num_bytes));
  RETURN_IF_ERROR(ReadOffsets(entry, &tensor));
  if (tensor.num_bytes() != num_bytes) {
    return TensorError(name, DtypeName(tensor.dtype), " ",
                       ShapeString(tensor.shape), " needs ", num_bytes,
                       " bytes, data_offsets give ", tensor.num_bytes());
  }
  return tensor;
}

absl::Status ReadMetadata(const nlohmann::json& entry,
                          SafetensorsHeader* header) {
  if (!entry.is_object()) {
    return absl::InvalidArgumentError(
        "safetensors: \"__metadata__\" must be an object of strings");
  }
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "safetensors: \"__metadata__\": the value of ", Quoted(key),
          " must be a string, got ", value.type_name()));
    }
    header->metadata[key] = value.get<std::string>();
  }
  return absl::OkStatus();
}

// Checks that the sorted tensors cover [0, data_bytes) exactly.
absl::Status CheckCoverage(const std::vector<TensorInfo>& tensors,
                           uint64_t data_bytes) {
  uint64_t position = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin != position) {
      return TensorError(tensor.name, "its data begins at ", tensor.begin,
                         ", expected ", position,
                         tensor.begin < position
                             ? " (it overlaps the tensor before it)"
                             : " (a hole in the data section)");
    }
    position = tensor.end;
  }
  if (position != data_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "safetensors: the tensors take ", position, " bytes, the file has ",
        data_bytes, " after its header",
        position > data_bytes ? " (it is cut short)" : " (trailing bytes)"));
  }
  return absl::OkStatus();
}

// The JSON text between the length and the data section, without its padding.
absl::StatusOr<absl::string_view> HeaderText(absl::string_view head,
                                             uint64_t data_offset,
                                             bool strict_padding) {
  if (head.size() < data_offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: the header has ", data_offset,
                     " bytes, only ", head.size(), " are here"));
  }
  absl::string_view text =
      head.substr(kPrefixBytes, data_offset - kPrefixBytes);
  if (!absl::StartsWith(text, "{")) {
    RETURN_IF_ERROR(RecogniseOtherFormat(head));
    return absl::InvalidArgumentError(
        "safetensors: the header must begin with '{'; this is probably not a "
        "safetensors file");
  }
  const size_t last = text.find_last_not_of(strict_padding ? " " : " \t\r\n");
  text = text.substr(0, last + 1);
  if (!absl::EndsWith(text, "}")) {
    return absl::InvalidArgumentError(
        "safetensors: the header must end with '}' and spaces only");
  }
  return text;
}

}  // namespace

int64_t DtypeBytes(Dtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)].num_bytes;
}

absl::string_view DtypeName(Dtype dtype) {
  return kDtypes[static_cast<size_t>(dtype)].name;
}

std::optional<Dtype> DtypeFromName(absl::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) {
      return row.dtype;
    }
  }
  return std::nullopt;
}

std::string ShapeString(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

const TensorInfo* SafetensorsHeader::Find(absl::string_view name) const {
  for (const TensorInfo& tensor : tensors) {
    if (tensor.name == name) {
      return &tensor;
    }
  }
  return nullptr;
}

SafetensorsLimits AdapterLimits() {
  return {.max_header_bytes = 1 << 20,
          .max_tensors = 8192,
          .max_name_bytes = 256,
          .strict_names = true,
          .strict_padding = true};
}

SafetensorsLimits ModelLimits() {
  return {.max_header_bytes = 100'000'000,
          .max_tensors = 1'000'000,
          .max_name_bytes = 4096,
          .strict_names = false,
          .strict_padding = false};
}

absl::StatusOr<uint64_t> SafetensorsHeaderBytes(
    absl::string_view prefix, uint64_t file_bytes,
    const SafetensorsLimits& limits) {
  if (prefix.size() < kPrefixBytes || file_bytes < kPrefixBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: the file has ",
                     std::min<uint64_t>(prefix.size(), file_bytes),
                     " bytes; the header's length alone takes ", kPrefixBytes));
  }
  uint64_t length = 0;
  for (uint64_t i = kPrefixBytes; i-- > 0;) {
    length = (length << 8) | static_cast<uint8_t>(prefix[i]);
  }
  // Only a length that cannot be one is read as another format's first bytes:
  // 0x0280 is a pickle's magic and also a fine length.
  if (length > limits.max_header_bytes) {
    RETURN_IF_ERROR(RecogniseOtherFormat(prefix));
    return absl::InvalidArgumentError(absl::StrCat(
        "safetensors: the header claims ", length, " bytes; at most ",
        limits.max_header_bytes, " are allowed"));
  }
  if (length > file_bytes - kPrefixBytes) {
    RETURN_IF_ERROR(RecogniseOtherFormat(prefix));
    return absl::InvalidArgumentError(absl::StrCat(
        "safetensors: the header claims ", length, " bytes, the file has only ",
        file_bytes - kPrefixBytes, " after the length (it is cut short)"));
  }
  return kPrefixBytes + length;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::string_view head, uint64_t file_bytes,
    const SafetensorsLimits& limits) {
  SafetensorsHeader header;
  ASSIGN_OR_RETURN(
      header.data_offset,
      SafetensorsHeaderBytes(head.substr(0, kPrefixBytes), file_bytes, limits));
  ASSIGN_OR_RETURN(absl::string_view text,
                   HeaderText(head, header.data_offset, limits.strict_padding));
  // Depth: the root, a tensor's entry, its shape.
  absl::StatusOr<nlohmann::json> root =
      ParseJson(text, {.max_bytes = limits.max_header_bytes, .max_depth = 3});
  if (!root.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors header: ", root.status().message()));
  }
  if (root->size() > static_cast<uint64_t>(limits.max_tensors) + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors: ", root->size(), " tensors; at most ",
                     limits.max_tensors, " are allowed"));
  }
  header.tensors.reserve(root->size());
  for (const auto& [name, entry] : root->items()) {
    if (name == kMetadataKey) {
      RETURN_IF_ERROR(ReadMetadata(entry, &header));
      continue;
    }
    RETURN_IF_ERROR(CheckName(name, limits));
    ASSIGN_OR_RETURN(TensorInfo tensor, ReadTensor(name, entry));
    header.tensors.push_back(std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const TensorInfo& x, const TensorInfo& y) {
              return std::tie(x.begin, x.end, x.name) <
                     std::tie(y.begin, y.end, y.name);
            });
  RETURN_IF_ERROR(
      CheckCoverage(header.tensors, file_bytes - header.data_offset));
  return header;
}

}  // namespace stockpot
