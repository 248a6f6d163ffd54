// What a model card says in its YAML front matter, as on Hugging Face.

#ifndef STOCKPOT_FORMATS_MODEL_CARD_H_
#define STOCKPOT_FORMATS_MODEL_CARD_H_

#include <string>

#include "absl/strings/string_view.h"

namespace stockpot {

// The value of the top-level key `license` between the "---" lines that the
// card begins with, at most 128 bytes of the letters of an SPDX expression.
// Empty if the card has none, or one of another form (a list, a block).
//
// Reads lines, not YAML: a scalar, plain or quoted, with or without a comment.
// Source: huggingface.co/docs/hub/model-cards, "Model card metadata".
std::string LicenseOfCard(absl::string_view card);

}  // namespace stockpot

#endif  // STOCKPOT_FORMATS_MODEL_CARD_H_
