#include "formats/tokenizer/sentencepiece_model.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "base/status_macros.h"
#include "formats/tokenizer/bpe_model.h"
#include "formats/tokenizer/unicode.h"

namespace stockpot {
namespace {

// One field of a message: its number, and its varint, fixed or bytes.
struct Field {
  uint32_t number = 0;
  uint64_t value = 0;
  absl::string_view bytes;
};

// Walks the fields of one message. Source: protobuf.dev, "Encoding".
class WireReader {
 public:
  explicit WireReader(absl::string_view bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }

  absl::StatusOr<Field> Next() {
    ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    Field field;
    field.number = static_cast<uint32_t>(tag >> 3);
    switch (tag & 7) {
      case 0: {
        ASSIGN_OR_RETURN(field.value, Varint());
        return field;
      }
      case 1: {
        ASSIGN_OR_RETURN(field.value, Fixed(8));
        return field;
      }
      case 2: {
        ASSIGN_OR_RETURN(const uint64_t size, Varint());
        if (size > rest_.size()) return Broken("a field longer than the rest");
        field.bytes = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return field;
      }
      case 5: {
        ASSIGN_OR_RETURN(field.value, Fixed(4));
        return field;
      }
      default:
        return Broken("an unknown wire type");
    }
  }

 private:
  static absl::Status Broken(absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a SentencePiece model: ", what));
  }
  absl::StatusOr<uint64_t> Varint() {
    uint64_t value = 0;
    for (size_t i = 0; i < 10 && i < rest_.size(); ++i) {
      const uint8_t byte = static_cast<uint8_t>(rest_[i]);
      value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
      if (byte < 0x80) {
        rest_.remove_prefix(i + 1);
        return value;
      }
    }
    return Broken("a number without end");
  }
  absl::StatusOr<uint64_t> Fixed(size_t size) {
    if (size > rest_.size()) return Broken("a number longer than the rest");
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(size);
    return value;
  }

  absl::string_view rest_;
};

// Calls `take` with each field of the message `bytes`.
template <typename Take>
absl::Status ForEachField(absl::string_view bytes, Take take) {
  WireReader reader(bytes);
  while (!reader.done()) {
    ASSIGN_OR_RETURN(const Field field, reader.Next());
    RETURN_IF_ERROR(take(field));
  }
  return absl::OkStatus();
}

absl::Status ReadPiece(absl::string_view bytes, SentencePieceModel& model) {
  SentencePieceModel::Piece piece;
  RETURN_IF_ERROR(ForEachField(bytes, [&](const Field& field) {
    if (field.number == 1) {
      piece.text = std::string(field.bytes);
    } else if (field.number == 2) {
      const uint32_t bits = static_cast<uint32_t>(field.value);
      std::memcpy(&piece.score, &bits, sizeof(bits));
    } else if (field.number == 3) {
      if (field.value < 1 || field.value > 6) {
        return absl::InvalidArgumentError(
            absl::StrCat("pieces[", model.pieces.size(),
                         "].type: ", field.value, " is unknown"));
      }
      piece.type = static_cast<SentencePieceModel::PieceType>(field.value);
    }
    return absl::OkStatus();
  }));
  if (piece.text.empty() || !ValidateUtf8(piece.text).ok() ||
      !std::isfinite(piece.score)) {
    return absl::InvalidArgumentError(
        absl::StrCat("pieces[", model.pieces.size(),
                     "]: expected a UTF-8 piece with a finite score"));
  }
  if (model.pieces.size() >= static_cast<size_t>(kMaxVocabSize)) {
    return absl::InvalidArgumentError(
        absl::StrCat("pieces: more than ", kMaxVocabSize));
  }
  model.pieces.push_back(std::move(piece));
  return absl::OkStatus();
}

absl::Status ReadTrainer(absl::string_view bytes, SentencePieceModel& model) {
  return ForEachField(bytes, [&](const Field& field) {
    switch (field.number) {
      case 3:
        if (field.value < 1 || field.value > 4) {
          return absl::InvalidArgumentError(absl::StrCat(
              "trainer_spec.model_type: ", field.value, " is unknown"));
        }
        model.model_type =
            static_cast<SentencePieceModel::ModelType>(field.value);
        break;
      case 24:
        model.treat_whitespace_as_suffix = field.value != 0;
        break;
      case 35:
        model.byte_fallback = field.value != 0;
        break;
      case 44:
        model.unk_surface = std::string(field.bytes);
        break;
      case 46:
        model.bos_piece = std::string(field.bytes);
        break;
      case 47:
        model.eos_piece = std::string(field.bytes);
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

absl::Status ReadNormalizer(absl::string_view bytes,
                            SentencePieceModel& model) {
  return ForEachField(bytes, [&](const Field& field) {
    switch (field.number) {
      case 2:
        model.precompiled_charsmap = std::string(field.bytes);
        break;
      case 3:
        model.add_dummy_prefix = field.value != 0;
        break;
      case 4:
        model.remove_extra_whitespaces = field.value != 0;
        break;
      case 5:
        model.escape_whitespaces = field.value != 0;
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<SentencePieceModel> SentencePieceModel::Parse(
    absl::string_view bytes) {
  SentencePieceModel model;
  RETURN_IF_ERROR(ForEachField(bytes, [&](const Field& field) {
    switch (field.number) {
      case 1:
        return ReadPiece(field.bytes, model);
      case 2:
        return ReadTrainer(field.bytes, model);
      case 3:
        return ReadNormalizer(field.bytes, model);
      case 5:
        return ForEachField(field.bytes, [&](const Field& inner) {
          if (inner.number == 2) {
            model.denormalizer_charsmap = std::string(inner.bytes);
          }
          return absl::OkStatus();
        });
      default:
        return absl::OkStatus();
    }
  }));
  int num_unknown = 0;
  for (const Piece& piece : model.pieces) {
    num_unknown += piece.type == PieceType::kUnknown;
  }
  if (num_unknown != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pieces: expected one unknown piece, found ", num_unknown));
  }
  return model;
}

}  // namespace stockpot
