#include "tests/faults/linearizability.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace stockpot::testing {
namespace {

using State = std::map<int64_t, int>;  // Content by version.

// What may be: the state, and which of the clients' calls under way have taken
// effect already.
using Possibility = std::pair<State, uint64_t>;

uint64_t Bit(int client) { return uint64_t{1} << client; }

// Lets `call` take effect on `state`; false if it would have answered
// otherwise.
bool Apply(const NameCall& call, State* state) {
  const auto at = state->find(call.version);
  const bool taken = at != state->end();
  switch (call.kind) {
    case NameCall::Kind::kRegister: {
      const int64_t newest = state->empty() ? 0 : state->rbegin()->first;
      const bool stored = newest > 0 && state->rbegin()->second == call.content;
      (*state)[stored ? newest : newest + 1] = call.content;
      return call.version == (stored ? newest : newest + 1);
    }
    case NameCall::Kind::kRegisterAt:
      if (taken) {
        return call.found == (at->second == call.content);
      }
      (*state)[call.version] = call.content;
      return call.found;
    case NameCall::Kind::kGetNewest:
      return state->empty()
                 ? !call.found
                 : call.found && call.version == state->rbegin()->first &&
                       call.content == state->rbegin()->second;
    case NameCall::Kind::kGet:
      return taken ? call.found && call.content == at->second : !call.found;
    case NameCall::Kind::kDelete:
      if (taken) {
        state->erase(at);
      }
      return call.found == taken;
    case NameCall::Kind::kList:
      return call.versions == *state;
  }
  return false;
}

// All that may be once `due`, which ends now, has taken effect, alone or after
// others of `pending`.
std::set<Possibility> Close(std::set<Possibility> open, const NameCall& due,
                            const std::map<int, const NameCall*>& pending) {
  std::set<Possibility> seen;
  std::set<Possibility> closed;
  while (!open.empty()) {
    const Possibility now = open.extract(open.begin()).value();
    if (!seen.insert(now).second) {
      continue;
    }
    if ((now.second & Bit(due.client)) != 0) {
      closed.insert({now.first, now.second & ~Bit(due.client)});
      continue;
    }
    for (const auto& [client, call] : pending) {
      Possibility next = now;
      if ((now.second & Bit(client)) == 0 && Apply(*call, &next.first)) {
        next.second |= Bit(client);
        open.insert(std::move(next));
      }
    }
  }
  return closed;
}

}  // namespace

std::string NameCall::ToString() const {
  static constexpr const char* kNames[] = {"register", "register at", "newest",
                                           "get",      "delete",      "list"};
  std::string text =
      absl::StrCat("client ", client, " [", start, ",", end, "] ",
                   kNames[static_cast<size_t>(kind)], " version ", version,
                   " content ", content, found ? " found" : " not found");
  for (const auto& [key, value] : versions) {
    absl::StrAppend(&text, " ", key, ":", value);
  }
  return text;
}

std::string FindViolation(const std::vector<NameCall>& calls) {
  // Time, whether it is an end, and the call.
  std::vector<std::tuple<uint64_t, bool, const NameCall*>> events;
  for (const NameCall& call : calls) {
    events.emplace_back(call.start, false, &call);
    events.emplace_back(call.end, true, &call);
  }
  std::sort(events.begin(), events.end());
  std::set<Possibility> possible = {{State(), 0}};
  std::map<int, const NameCall*> pending;
  for (const auto& [time, is_end, call] : events) {
    if (!is_end) {
      pending[call->client] = call;
      continue;
    }
    possible = Close(std::move(possible), *call, pending);
    pending.erase(call->client);
    if (possible.empty()) {
      return call->ToString();
    }
  }
  return "";
}

}  // namespace stockpot::testing
