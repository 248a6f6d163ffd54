#include "client/generate_output.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

#include "client/text.h"

namespace stockpot {

GenerateOutput::GenerateOutput(const Format& format, Terminal& terminal)
    : format_(format), terminal_(terminal), start_(absl::Now()) {}

absl::Status GenerateOutput::Receive(const v1::GenerateResponse& response) {
  const uint32_t index = response.has_delta() ? response.delta().index()
                                              : response.finish().index();
  if (index >= format_.num_sequences) {
    return absl::InternalError(absl::StrCat("the server answers for sequence ",
                                            index, " of ",
                                            format_.num_sequences));
  }
  Sequence& sequence = sequences_[index];
  if (sequence.is_finished) {
    return absl::InternalError(
        absl::StrCat("the server adds to sequence ", index, " after its end"));
  }
  if (response.has_delta()) {
    ReceiveDelta(response.delta(), sequence);
  } else if (response.has_finish()) {
    ReceiveFinish(response.finish(), sequence);
  }
  return absl::OkStatus();
}

void GenerateOutput::ReceiveDelta(const v1::Delta& delta, Sequence& sequence) {
  if (!delta.tokens().empty()) {
    first_token_ = std::min(first_token_, absl::Now());
  }
  for (const v1::Token& token : delta.tokens()) {
    sequence.ids.push_back(token.id());
    if (format_.logprobs) {
      sequence.tokens.push_back(ToJson(token));
    }
  }
  if (delta.text().empty()) {
    return;
  }
  sequence.text += delta.text();
  if (format_.num_sequences == 1 && !format_.json) {
    terminal_.out << Shown(delta.text()) << std::flush;
  }
}

void GenerateOutput::ReceiveFinish(const v1::Finish& finish,
                                   Sequence& sequence) {
  sequence.is_finished = true;
  if (format_.json) {
    PrintJson(finish, sequence);
  } else if (format_.num_sequences > 1) {
    terminal_.out << "--- " << finish.index() + 1 << " of "
                  << format_.num_sequences << " ("
                  << FinishReasonText(finish.finish_reason()) << ")\n"
                  << Shown(sequence.text)
                  << (absl::EndsWith(sequence.text, "\n") ? "" : "\n");
  } else if (!absl::EndsWith(sequence.text, "\n")) {
    terminal_.out << '\n';
  }
  terminal_.out << std::flush;
  if (format_.stats) {
    PrintStats(finish);
  }
}

void GenerateOutput::PrintJson(const v1::Finish& finish,
                               const Sequence& sequence) {
  Json json = {{"index", finish.index()},
               {"text", sequence.text},
               {"ids", sequence.ids},
               {"finish_reason", FinishReasonText(finish.finish_reason())},
               {"usage", ToJson(finish.usage())},
               {"timings", ToJson(finish.timings())},
               {"recipe", ToJson(finish.recipe())}};
  if (format_.logprobs) {
    json["tokens"] = sequence.tokens;
  }
  terminal_.out << ToLine(json) << '\n';
}

void GenerateOutput::PrintStats(const v1::Finish& finish) {
  const v1::Usage& usage = finish.usage();
  const v1::Timings& timings = finish.timings();
  const double decode = Seconds(timings.decode());
  // The first token comes out of the prefill.
  const double num_decoded = usage.generated_tokens() - 1.0;
  const double rate = decode > 0 && num_decoded > 0 ? num_decoded / decode : 0;
  const double first = first_token_ == absl::InfiniteFuture()
                           ? 0
                           : absl::ToDoubleSeconds(first_token_ - start_);
  terminal_.err << absl::StreamFormat(
      "[%u] %s: %u prompt (%u cached) + %u generated tokens, %.1f tokens/s; "
      "first token after %.0f ms; queued %.1f, compose %.1f, prefill %.1f, "
      "decode %.1f ms; recipe %s\n",
      finish.index(), FinishReasonText(finish.finish_reason()),
      usage.prompt_tokens(), usage.cached_tokens(), usage.generated_tokens(),
      rate, first * 1e3, Seconds(timings.queued()) * 1e3,
      Seconds(timings.compose()) * 1e3, Seconds(timings.prefill()) * 1e3,
      decode * 1e3, finish.recipe().digest().substr(0, 12));
}

absl::Status GenerateOutput::Close(bool is_complete) {
  if (!is_complete) {
    // What was printed of an answer stays; the error starts its own line.
    const Sequence& sequence = sequences_[0];
    if (format_.num_sequences == 1 && !format_.json && !sequence.is_finished &&
        !sequence.text.empty()) {
      terminal_.out << '\n' << std::flush;
    }
    return absl::OkStatus();
  }
  for (uint32_t i = 0; i < format_.num_sequences; ++i) {
    if (!sequences_[i].is_finished) {
      return absl::InternalError(absl::StrCat(
          "the server ended the call without finishing sequence ", i));
    }
  }
  return absl::OkStatus();
}

std::string GenerateOutput::Shown(const std::string& text) const {
  return terminal_.out_is_terminal ? PrintableText(text) : text;
}

}  // namespace stockpot
