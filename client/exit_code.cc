#include "client/exit_code.h"

#include <string>

#include "absl/strings/str_cat.h"

#include "client/text.h"

namespace stockpot {

ExitCode ExitCodeOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kNotFound:
      return kExitNotFound;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitInvalidArgument;
    case absl::StatusCode::kUnavailable:
      return kExitUnavailable;
    case absl::StatusCode::kAlreadyExists:
      return kExitAlreadyExists;
    case absl::StatusCode::kResourceExhausted:
      return kExitResourceExhausted;
    case absl::StatusCode::kUnimplemented:
      return kExitUnimplemented;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitDeadline;
    case absl::StatusCode::kCancelled:
      return kExitCancelled;
    default:
      return kExitFailure;
  }
}

std::string ExitCodeHelp() {
  return "Exit codes: 0 ok, 1 other failure, 2 usage, 3 not found,\n"
         "4 invalid argument, 5 unavailable, 6 already exists,\n"
         "7 resource exhausted, 8 unimplemented, 9 deadline exceeded,\n"
         "130 cancelled (Ctrl-C).";
}

std::string ErrorText(const absl::Status& status, absl::string_view address) {
  const std::string code = absl::StatusCodeToString(status.code());
  std::string text = absl::StrCat("stockpot: ", code);
  // gRPC repeats the code where nobody gave a message.
  if (!status.message().empty() && status.message() != code) {
    absl::StrAppend(&text, ": ", PrintableText(status.message()));
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      absl::StrAppend(&text, "\nhint: is stockpotd running at ", address,
                      ", and is its model loaded? (--address HOST:PORT or "
                      "STOCKPOT_ADDRESS chooses another)");
      break;
    case absl::StatusCode::kResourceExhausted:
      absl::StrAppend(&text,
                      "\nhint: if the server is busy, the same command may "
                      "succeed in a moment");
      break;
    case absl::StatusCode::kDeadlineExceeded:
      absl::StrAppend(&text, "\nhint: --timeout SECONDS allows more time");
      break;
    case absl::StatusCode::kUnimplemented:
      absl::StrAppend(&text, "\nhint: the stockpotd at ", address,
                      " does not serve this call; `stockpot info` shows its "
                      "version");
      break;
    default:
      break;
  }
  return text;
}

}  // namespace stockpot
