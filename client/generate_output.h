// GenerateOutput prints what a Generate call streams. Not thread-safe.

#ifndef STOCKPOT_CLIENT_GENERATE_OUTPUT_H_
#define STOCKPOT_CLIENT_GENERATE_OUTPUT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "proto/stockpot/v1/generation.pb.h"

#include "client/json_text.h"
#include "client/terminal.h"

namespace stockpot {

class GenerateOutput {
 public:
  struct Format {
    uint32_t num_sequences = 1;
    bool json = false;      // One object per sequence, when it has ended.
    bool logprobs = false;  // "tokens" in the object. With json.
    bool stats = false;     // One line per sequence on `terminal.err`.
  };

  // A single sequence without JSON is printed as it comes, and flushed with
  // each delta; several are printed whole, each under a line of its own.
  // `terminal` is borrowed.
  GenerateOutput(const Format& format, Terminal& terminal);

  // Errors: Internal if the server breaks the protocol: an event for a sequence
  // that was not asked for or has ended.
  absl::Status Receive(const v1::GenerateResponse& response);

  // To be called once, after the last event. `is_complete`: the call ended OK.
  // Errors: Internal if it did and a sequence has not.
  absl::Status Close(bool is_complete);

 private:
  struct Sequence {
    std::string text;
    std::vector<uint32_t> ids;
    Json tokens = Json::array();
    bool is_finished = false;
  };

  void ReceiveDelta(const v1::Delta& delta, Sequence& sequence);
  void ReceiveFinish(const v1::Finish& finish, Sequence& sequence);
  void PrintJson(const v1::Finish& finish, const Sequence& sequence);
  void PrintStats(const v1::Finish& finish);
  // `text` as it may go to `terminal_.out`.
  std::string Shown(const std::string& text) const;

  const Format format_;
  Terminal& terminal_;
  const absl::Time start_;
  absl::Time first_token_ = absl::InfiniteFuture();
  std::map<uint32_t, Sequence> sequences_;
};

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_GENERATE_OUTPUT_H_
