#include "base/log.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace stockpot {

namespace {

constexpr size_t kMaxValueBytes = 512;

absl::string_view Name(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "debug";
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "error";
}

// Everything outside printable ASCII becomes an escape: a log line is plain
// ASCII whatever a client sent.
void AppendJsonString(absl::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text.substr(0, kMaxValueBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (byte < 0x20 || byte >= 0x7f) {
      absl::StrAppendFormat(out, "\\u%04x", byte);
    } else {
      out->push_back(c);
    }
  }
  out->append(text.size() > kMaxValueBytes ? "...\"" : "\"");
}

}  // namespace

std::string FormatLogLine(Severity severity, absl::string_view time_text,
                          absl::string_view message,
                          std::initializer_list<LogField> fields) {
  std::string line =
      absl::StrCat("{\"time\":\"", time_text, "\",\"severity\":\"",
                   Name(severity), "\",\"message\":");
  AppendJsonString(message, &line);
  for (const LogField& field : fields) {
    line.push_back(',');
    AppendJsonString(field.first, &line);
    line.push_back(':');
    AppendJsonString(field.second, &line);
  }
  line.push_back('}');
  return line;
}

void Log(Severity severity, absl::string_view message,
         std::initializer_list<LogField> fields) {
  const std::string now = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(),
                                           absl::UTCTimeZone());
  const std::string line =
      absl::StrCat(FormatLogLine(severity, now, message, fields), "\n");
  // One write per line keeps the lines of many threads whole. A log that cannot
  // be written is not worth failing a call for.
  [[maybe_unused]] const ssize_t written =
      ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace stockpot
