#include "tests/fuzz/oracles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nlohmann/json.hpp"

#include "formats/adapter_layout.h"
#include "formats/safetensors.h"

namespace stockpot::testing {
namespace {

uint64_t LittleEndian(absl::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8 && i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  return value;
}

// "" or what is wrong with one tensor, by itself.
std::string WrongInTensor(const TensorInfo& tensor, uint64_t data_bytes) {
  if (tensor.begin > tensor.end || tensor.end > data_bytes) {
    return "out of bounds";
  }
  unsigned __int128 bytes = static_cast<uint64_t>(DtypeBytes(tensor.dtype));
  for (const int64_t size : tensor.shape) {
    if (size < 0) {
      return "negative size";
    }
    bytes *= static_cast<uint64_t>(size);
    if (bytes > UINT64_MAX) {
      bytes = static_cast<unsigned __int128>(UINT64_MAX) + 1;
    }
    if (size == 0) {
      bytes = 0;
      break;
    }
  }
  return bytes == tensor.end - tensor.begin ? "" : "size is not the shape's";
}

std::string WrongAgainstJson(const SafetensorsHeader& header,
                             absl::string_view json) {
  nlohmann::json root = nlohmann::json::parse(json.begin(), json.end(), nullptr,
                                              /*allow_exceptions=*/false);
  if (!root.is_object()) {
    return "accepted what is no JSON object";
  }
  const size_t num_tensors = root.size() - root.count("__metadata__");
  if (num_tensors != header.tensors.size()) {
    return absl::StrCat("JSON has ", num_tensors, " tensors");
  }
  for (const TensorInfo& tensor : header.tensors) {
    const auto entry = root.find(tensor.name);
    if (entry == root.end() || !entry->is_object() || entry->size() != 3 ||
        (*entry)["dtype"] != std::string(DtypeName(tensor.dtype)) ||
        (*entry)["shape"] != nlohmann::json(tensor.shape) ||
        (*entry)["data_offsets"] !=
            nlohmann::json({tensor.begin, tensor.end})) {
      return absl::StrCat(tensor.name, " is not what the JSON says");
    }
  }
  return "";
}

// Tries everything: for short patterns only.
bool Tries(absl::string_view pattern, absl::string_view path) {
  if (pattern.empty()) {
    return path.empty();
  }
  if (pattern[0] == '*') {
    const size_t stars =
        std::min(pattern.find_first_not_of('*'), pattern.size());
    for (size_t n = 0; n <= path.size(); ++n) {
      if (Tries(pattern.substr(stars), path.substr(n))) {
        return true;
      }
      if (stars == 1 && n < path.size() && path[n] == '.') {
        return false;
      }
    }
    return false;
  }
  return !path.empty() &&
         (pattern[0] == '?' ? path[0] != '.' : pattern[0] == path[0]) &&
         Tries(pattern.substr(1), path.substr(1));
}

}  // namespace

SafetensorsInput SafetensorsFromInput(absl::string_view input) {
  SafetensorsInput result;
  if (input.empty() || input[0] != '{') {
    result.file_bytes = LittleEndian(input);
    result.head = std::string(input.substr(std::min<size_t>(8, input.size())));
    return result;
  }
  const size_t end = std::min(input.rfind('}'), input.size() - 1) + 1;
  uint64_t data_bytes = 0;
  if (!absl::SimpleAtoi(input.substr(end), &data_bytes)) {
    data_bytes = 0;
  }
  result.head.resize(8);
  for (size_t i = 0; i < 8; ++i) {
    result.head[i] = static_cast<char>(uint64_t{end} >> (8 * i));
  }
  absl::StrAppend(&result.head, input.substr(0, end));
  result.file_bytes = result.head.size() + data_bytes;
  return result;
}

std::string WrongInHeader(const SafetensorsHeader& header,
                          const SafetensorsInput& input) {
  const uint64_t length = LittleEndian(input.head);
  if (input.head.size() < 8 || length > input.head.size() - 8 ||
      header.data_offset != 8 + length ||
      header.data_offset > input.file_bytes) {
    return "the header is not where it says";
  }
  const uint64_t data_bytes = input.file_bytes - header.data_offset;
  uint64_t position = 0;
  std::set<std::string> names;
  for (const TensorInfo& tensor : header.tensors) {
    if (const std::string wrong = WrongInTensor(tensor, data_bytes);
        !wrong.empty()) {
      return absl::StrCat(tensor.name, ": ", wrong);
    }
    if (tensor.begin != position) {
      return absl::StrCat(tensor.name, tensor.begin < position
                                           ? " overlaps the one before"
                                           : " has a hole before it");
    }
    position = tensor.end;
    if (!names.insert(tensor.name).second) {
      return absl::StrCat(tensor.name, " is there twice");
    }
  }
  if (position != data_bytes) {
    return "bytes that no tensor covers";
  }
  return WrongAgainstJson(header,
                          absl::string_view(input.head).substr(8, length));
}

std::string WrongInLayout(const AdapterLayout& layout,
                          const SafetensorsHeader& header,
                          absl::Span<const BaseModule> base) {
  std::set<size_t> modules;
  std::set<size_t> tensors;
  for (const size_t shared : {layout.vera_a, layout.vera_b}) {
    if (shared != kNoTensor) {
      tensors.insert(shared);
    }
  }
  for (const AdaptedModule& module : layout.modules) {
    if (module.module >= base.size()) {
      return "a module's index is out of range";
    }
    modules.insert(module.module);
    for (size_t part = 0; part < kNumAdapterParts; ++part) {
      const size_t tensor = module.parts[static_cast<AdapterPart>(part)];
      if (tensor != kNoTensor) {
        tensors.insert(tensor);
      }
    }
    if (!tensors.empty() && *tensors.rbegin() >= header.tensors.size()) {
      return "a tensor's index is out of range";
    }
    const BaseModule& target = base[module.module];
    const size_t a = module.parts[AdapterPart::kLoraA];
    const size_t b = module.parts[AdapterPart::kLoraB];
    const bool is_plain = a != kNoTensor && b != kNoTensor &&
                          module.parts[AdapterPart::kLoraE] == kNoTensor;
    if (module.rank < 0 || module.rank > kMaxServedRank ||
        (is_plain && (header.tensors[a].shape !=
                          std::vector<int64_t>{module.rank, target.in} ||
                      header.tensors[b].shape !=
                          std::vector<int64_t>{target.out, module.rank}))) {
      return absl::StrCat(target.path, ": shapes do not fit");
    }
    if (!(std::abs(module.scale) <= 1e4)) {
      return absl::StrCat(target.path, ": scale is out of bounds");
    }
  }
  for (const ReplacedRows& rows : layout.replaced) {
    if (rows.module >= base.size() || !base[rows.module].is_end() ||
        rows.tensor >= header.tensors.size()) {
      return "replaced rows are out of range";
    }
    const BaseModule& end = base[rows.module];
    const auto n = rows.tokens.empty()
                       ? end.vocabulary()
                       : static_cast<int64_t>(rows.tokens.size());
    for (const int64_t token : rows.tokens) {
      if (token < 0 || token >= end.vocabulary()) {
        return "a token is out of range";
      }
    }
    if (header.tensors[rows.tensor].shape !=
        std::vector<int64_t>{n, end.hidden()}) {
      return "replaced rows do not fit";
    }
    modules.insert(rows.module);
    tensors.insert(rows.tensor);
  }
  for (const BaseCopy& copy : layout.base_copies) {
    tensors.insert(copy.tensor);
  }
  if (modules.empty() ||
      modules.size() != layout.modules.size() + layout.replaced.size()) {
    return "no module, or one twice";
  }
  if (tensors.size() != header.tensors.size()) {
    return "a tensor is not used";
  }
  int64_t num_parameters = 0;
  for (const TensorInfo& tensor : header.tensors) {
    num_parameters += tensor.num_elements();
  }
  return num_parameters == layout.num_parameters ? "" : "wrong number";
}

bool GlobMatches(absl::string_view pattern, absl::string_view path) {
  const size_t open = pattern.find('{');
  if (open == absl::string_view::npos) {
    return Tries(pattern, path);
  }
  const size_t close = pattern.find('}', open);
  for (const absl::string_view choice :
       absl::StrSplit(pattern.substr(open + 1, close - open - 1), ',')) {
    if (GlobMatches(absl::StrCat(pattern.substr(0, open), choice,
                                 pattern.substr(close + 1)),
                    path)) {
      return true;
    }
  }
  return false;
}

}  // namespace stockpot::testing
