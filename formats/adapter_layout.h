// AdapterLayout says which tensors of an adapter's file adapt which linear
// layer of the base model, once everything about them was checked.

#ifndef STOCKPOT_FORMATS_ADAPTER_LAYOUT_H_
#define STOCKPOT_FORMATS_ADAPTER_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "formats/adapter_config.h"
#include "formats/adapter_kind.h"
#include "formats/finite_scanner.h"
#include "formats/safetensors.h"

namespace stockpot {

// One linear layer of the base model: y (out) = W x (in). The embedding counts
// as one that reads a token as a vector of its vocabulary, 1 at the token's
// place: W is the embedding's weight transposed.
struct BaseModule {
  // As in transformers' named_modules(), e.g.
  // "model.layers.0.self_attn.q_proj" or "transformer.h.0.attn.c_attn".
  std::string path;
  int64_t in = 0;
  int64_t out = 0;
  // The head over the vocabulary.
  bool is_output_head = false;
  // False where the model computes it in one product with others, as q, k, v.
  bool reads_alone = true;
  bool is_embedding = false;
  // An embedding and a head whose weight is one tensor.
  bool is_tied = false;

  // One of the two that have a row per token.
  bool is_end() const { return is_output_head || is_embedding; }
  // The shape of that weight, [vocabulary, hidden]. REQUIRES: is_end().
  int64_t vocabulary() const { return is_embedding ? in : out; }
  int64_t hidden() const { return is_embedding ? out : in; }
};

struct AdaptedModule {
  // Index into the span of BaseModule.
  size_t module = 0;
  AdapterParts parts;
  // Of the factors that it is served with, at most kMaxServedRank: of LORA,
  // ADALORA, VERA and MISS that of the file; of LOHA, LOKR and FOURIERFT that
  // of the conversion (docs/adapters.md); 0 of IA3.
  int64_t rank = 0;
  // Whether factors of `rank` hold the whole update, up to rounding.
  bool is_exact = true;
  // s of dW = s B A. Of IA3 1.
  double scale = 0;
};

// Rows of the embedding's or the head's weight that the adapter holds itself.
struct ReplacedRows {
  // Index into the span of BaseModule.
  size_t module = 0;
  // [tokens, hidden]; of a tied head, the embedding's tensor.
  size_t tensor = 0;
  // Whose rows they are, in the tensor's order; empty: all of them.
  std::vector<int64_t> tokens;
};

// A copy of the base model's own weight, as PEFT saves one of each embedding
// that it adapts. Nothing reads it, but PEFT would load it over the base.
struct BaseCopy {
  size_t module = 0;
  size_t tensor = 0;  // [vocabulary, hidden]
};

// Rows that PEFT saves a second time, for a head that shares them. It would
// load either over the other, so both must be the same.
struct RowsCopy {
  size_t tensor = 0;
  size_t original = 0;  // Of equal shape and dtype.
};

// Largest rank that a converted update is served with.
inline constexpr int64_t kMaxServedRank = 512;

struct AdapterLayout {
  // In the order of the base modules. With `replaced`, at least one.
  std::vector<AdaptedModule> modules;
  // In the order of the base modules, which are not in `modules`.
  std::vector<ReplacedRows> replaced;
  std::vector<BaseCopy> base_copies;
  std::vector<RowsCopy> rows_copies;
  // VeRA's projections, which its modules share: (rank, >= in), (>= out, rank).
  size_t vera_a = kNoTensor;
  size_t vera_b = kNoTensor;
  // Elements of all tensors.
  int64_t num_parameters = 0;
  int64_t min_rank = 0;
  int64_t max_rank = 0;
  // Last segments of the adapted paths, sorted, each once: {"k_proj", ...}.
  std::vector<std::string> target_suffixes;
};

// Matches the tensors of an adapter with the layers that they adapt.
//
// Every tensor must be a part, of the config's kind, of a base module that the
// config targets, of dtype F32, F16 or BF16, with the base module's sizes and
// the config's rank; every base module that the config targets must have all
// its parts. Names are PEFT's: "base_model.model.<path>.lora_A.weight", also
// with the adapter's name as in ".lora_A.default.weight"; of the embedding,
// which LORA alone adapts, "<path>.lora_embedding_A". Rows of embedding and
// head: formats/adapter_rows.h.
//
// Errors: InvalidArgument, which names the tensor or module, what was expected
// and, for an unknown path, the base modules that look most like it.
// Unimplemented for other weights of the base model (norms, biases), for an
// embedding adapted by another kind than LORA, for trained rows of any other
// layer, and for a conversion that would take too long or too much memory.
absl::StatusOr<AdapterLayout> MatchAdapter(const SafetensorsHeader& header,
                                           const AdapterConfig& config,
                                           absl::Span<const BaseModule> base);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_ADAPTER_LAYOUT_H_
