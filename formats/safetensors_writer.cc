#include "formats/safetensors_writer.h"

#include <cstdint>

#include "nlohmann/json.hpp"

namespace stockpot {

std::string WriteSafetensorsHeader(absl::Span<TensorInfo> tensors) {
  // transformers refuses a file that does not say what it is of.
  nlohmann::ordered_json json = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t end = 0;
  for (TensorInfo& tensor : tensors) {
    uint64_t bytes = static_cast<uint64_t>(DtypeBytes(tensor.dtype));
    for (const int64_t size : tensor.shape) {
      bytes *= static_cast<uint64_t>(size);
    }
    tensor.begin = end;
    end += bytes;
    tensor.end = end;
    json[tensor.name] = {{"dtype", DtypeName(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string head;
  for (int shift = 0; shift < 64; shift += 8) {
    head.push_back(static_cast<char>(uint64_t{text.size()} >> shift));
  }
  return head + text;
}

}  // namespace stockpot
