// A SentencePieceModel is the content of a tokenizer.model: the pieces, and how
// text is normalized.
//
// It reads the protobuf wire format itself and does not link libsentencepiece:
// Debian's libsentencepiece.so exports its own copy of Protobuf 3.14, and a
// process that also links Protobuf 3.21 aborts before main().
//
// A value type; const access is thread-safe.
// Source: github.com/google/sentencepiece, src/sentencepiece_model.proto.

#ifndef STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_
#define STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace stockpot {

struct SentencePieceModel {
  enum class PieceType {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6,
  };
  enum class ModelType { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::kNormal;
  };

  // Errors: InvalidArgument: not the wire format, an impossible value, or a
  // model that has no pieces or no unknown piece.
  static absl::StatusOr<SentencePieceModel> Parse(absl::string_view bytes);

  std::vector<Piece> pieces;  // The index is the id.

  // trainer_spec
  ModelType model_type = ModelType::kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string unk_surface = " \xE2\x81\x87 ";
  std::string bos_piece = "<s>";
  std::string eos_piece = "</s>";

  // normalizer_spec
  std::string precompiled_charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  // denormalizer_spec
  std::string denormalizer_charsmap;
};

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_TOKENIZER_SENTENCEPIECE_MODEL_H_
