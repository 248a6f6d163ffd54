#include "tests/server/cut_wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>

#include "base/check.h"

namespace stockpot::testing {
namespace {

constexpr int kPollMilliseconds = 20;

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Moves what is there from one to the other; the number of bytes, or 0 at the
// end of either.
size_t Move(int from, int to) {
  char buffer[4096];
  const ssize_t got = recv(from, buffer, sizeof(buffer), 0);
  for (ssize_t at = 0; at < got;) {
    const ssize_t sent =
        send(to, buffer + at, static_cast<size_t>(got - at), MSG_NOSIGNAL);
    if (sent <= 0) {
      return 0;
    }
    at += sent;
  }
  return got > 0 ? static_cast<size_t>(got) : 0;
}

}  // namespace

CutWire::CutWire(int server_port, std::vector<uint64_t> cuts)
    : server_port_(server_port), cuts_(std::move(cuts)) {
  listener_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  STOCKPOT_CHECK(listener_ >= 0 && bind(listener_, generic, size) == 0 &&
                 listen(listener_, 16) == 0 &&
                 getsockname(listener_, generic, &size) == 0);
  port_ = ntohs(address.sin_port);
  accepting_ = std::thread([this] { Accept(); });
}

CutWire::~CutWire() {
  stopping_ = true;
  accepting_.join();
  close(listener_);
}

void CutWire::Accept() {
  size_t num_accepted = 0;
  while (!stopping_) {
    pollfd ready = {listener_, POLLIN, 0};
    if (poll(&ready, 1, kPollMilliseconds) <= 0) {
      continue;
    }
    const int client = accept(listener_, nullptr, nullptr);
    if (client < 0) {
      continue;
    }
    const uint64_t limit = num_accepted < cuts_.size()
                               ? cuts_[num_accepted]
                               : std::numeric_limits<uint64_t>::max();
    ++num_accepted;
    connections_.emplace_back([this, client, limit] { Pass(client, limit); });
  }
  for (std::thread& connection : connections_) {
    connection.join();
  }
}

void CutWire::Pass(int client, uint64_t limit) {
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = Loopback(server_port_);
  bool open = connect(server, reinterpret_cast<sockaddr*>(&address),
                      sizeof(address)) == 0;
  uint64_t from_client = 0;
  while (open && !stopping_) {
    pollfd ready[] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    if (poll(ready, 2, kPollMilliseconds) <= 0) {
      continue;
    }
    if (ready[0].revents != 0) {
      const size_t moved = Move(client, server);
      from_client += moved;
      open = moved > 0;
    }
    if (open && ready[1].revents != 0) {
      open = Move(server, client) > 0;
    }
    if (from_client >= limit) {
      ++num_cut_;
      break;
    }
  }
  // Without a goodbye: a reset, as from a network that went away.
  const linger hard = {1, 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  setsockopt(server, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  close(client);
  close(server);
}

}  // namespace stockpot::testing
