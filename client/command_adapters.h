// `stockpot list`, `show`, `rm`, `undelete` and `alias`.

#ifndef STOCKPOT_CLIENT_COMMAND_ADAPTERS_H_
#define STOCKPOT_CLIENT_COMMAND_ADAPTERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "client/connection.h"
#include "client/terminal.h"

namespace stockpot {

struct ListAdaptersOptions {
  std::string prefix;
  std::vector<std::string> labels;  // "key=value"; all must match.
  bool all_versions = false;
  bool deleted = false;  // What can be brought back instead.
  uint32_t min_rank = 0;
  uint32_t max_rank = 0;
  uint64_t min_bytes = 0;
  uint64_t max_bytes = 0;
  std::string since;   // "2026-11-21", UTC; empty: no bound.
  std::string before;  // The same; that day does not count.
  std::vector<std::string> targets;
  std::string base_model;
  std::string text;
  bool json = false;
};

struct ShowOptions {
  std::string adapter;  // As stockpot.v1.Skill.adapter.
  bool all_modules = false;
  bool json = false;
};

struct RemoveOptions {
  std::string adapter;  // "name@version" or "name@alias".
  bool yes = false;     // Do not ask.
  bool purge = false;   // For good; also what was deleted before.
};

struct UndeleteOptions {
  std::string adapter;  // "name@version".
};

struct AliasOptions {
  std::string name;
  std::string alias;
  int64_t version = 0;
  bool remove = false;  // `version` is not used then.
};

absl::Status RunList(const ListAdaptersOptions& options,
                     const Connection& connection, Terminal& terminal);
absl::Status RunShow(const ShowOptions& options, const Connection& connection,
                     Terminal& terminal);
// Asks on the terminal unless `yes`; Cancelled if the answer is not yes.
absl::Status RunRemove(const RemoveOptions& options,
                       const Connection& connection, Terminal& terminal);
absl::Status RunUndelete(const UndeleteOptions& options,
                         const Connection& connection, Terminal& terminal);
absl::Status RunAlias(const AliasOptions& options, const Connection& connection,
                      Terminal& terminal);

}  // namespace stockpot

#endif  // STOCKPOT_CLIENT_COMMAND_ADAPTERS_H_
