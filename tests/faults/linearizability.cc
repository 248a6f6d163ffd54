#include "tests/faults/linearizability.h"

#include <algorithm>
#include <compare>
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

// Content by version. A version that was deleted stays taken: only the content
// that it had may come back.
struct Entry {
  int content = 0;
  bool deleted = false;
  auto operator<=>(const Entry&) const = default;
};
using State = std::map<int64_t, Entry>;

// The newest version that is there, or the end.
State::iterator Newest(State* state) {
  for (auto it = state->end(); it != state->begin();) {
    if (!(--it)->second.deleted) {
      return it;
    }
  }
  return state->end();
}

std::map<int64_t, int> Listed(const State& state) {
  std::map<int64_t, int> versions;
  for (const auto& [version, entry] : state) {
    if (!entry.deleted && versions.size() < NameCall::kMaxListed) {
      versions[version] = entry.content;
    }
  }
  return versions;
}

// What may be: the state, and which of the clients' calls under way have taken
// effect already.
using Possibility = std::pair<State, uint64_t>;

uint64_t Bit(int client) { return uint64_t{1} << client; }

// Lets `call` take effect on `state`; false if it would have answered
// otherwise.
bool Apply(const NameCall& call, State* state) {
  const auto at = state->find(call.version);
  const bool taken = at != state->end();
  const bool there = taken && !at->second.deleted;
  const auto newest = Newest(state);
  switch (call.kind) {
    case NameCall::Kind::kRegister: {
      if (newest != state->end() && newest->second.content == call.content) {
        return call.version == newest->first;  // Stored already.
      }
      const int64_t next = state->empty() ? 1 : state->rbegin()->first + 1;
      (*state)[next] = {call.content, false};
      return call.version == next;
    }
    case NameCall::Kind::kRegisterAt:
      if (taken && at->second.content != call.content) {
        return !call.found;
      }
      (*state)[call.version] = {call.content, false};
      return call.found;
    case NameCall::Kind::kGetNewest:
      return newest == state->end()
                 ? !call.found
                 : call.found && call.version == newest->first &&
                       call.content == newest->second.content;
    case NameCall::Kind::kGet:
      return there ? call.found && call.content == at->second.content
                   : !call.found;
    case NameCall::Kind::kDelete:
      if (there) {
        at->second.deleted = true;
      }
      return call.found == there;
    case NameCall::Kind::kList:
      return call.versions == Listed(*state);
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
