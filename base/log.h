// Log() writes one JSON object per line to standard error.
//
// Values may come from clients: they are escaped and cut to 512 bytes, so that
// no name or header can forge a line. Prompts and generated text are never
// logged. Thread-safe; a line is written whole.

#ifndef STOCKPOT_BASE_LOG_H_
#define STOCKPOT_BASE_LOG_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace stockpot {

enum class Severity : uint8_t { kDebug, kInfo, kWarning, kError };

using LogField = std::pair<absl::string_view, std::string>;

// Writes {"time":...,"severity":...,"message":...,<fields>} and a newline.
void Log(Severity severity, absl::string_view message,
         std::initializer_list<LogField> fields = {});

// The line that Log() would write at `time_text`, without its newline.
std::string FormatLogLine(Severity severity, absl::string_view time_text,
                          absl::string_view message,
                          std::initializer_list<LogField> fields);

}  // namespace stockpot

#endif  // STOCKPOT_BASE_LOG_H_
