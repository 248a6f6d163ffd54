#include "server/metrics_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace stockpot {

namespace {

constexpr size_t kMaxRequestBytes = 8192;
constexpr absl::Duration kConnectionTimeout = absl::Seconds(5);

absl::StatusOr<sockaddr_in> ParseAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  sockaddr_in parsed{};
  parsed.sin_family = AF_INET;
  if (colon == std::string::npos ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 ||
      port > 65535 ||
      inet_pton(AF_INET, address.substr(0, colon).c_str(), &parsed.sin_addr) !=
          1) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is no address; write 0.0.0.0:9090"));
  }
  parsed.sin_port = htons(static_cast<uint16_t>(port));
  return parsed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MetricsHttp>> MetricsHttp::Start(
    const std::string& address, std::function<std::string()> scrape) {
  absl::StatusOr<sockaddr_in> parsed = ParseAddress(address);
  if (!parsed.ok()) {
    return parsed.status();
  }
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, reinterpret_cast<sockaddr*>(&*parsed), sizeof(*parsed)) != 0 ||
      listen(fd, kMaxConnections) != 0) {
    close(fd);
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, " for metrics"));
  }
  socklen_t size = sizeof(*parsed);
  getsockname(fd, reinterpret_cast<sockaddr*>(&*parsed), &size);
  std::unique_ptr<MetricsHttp> http(new MetricsHttp(
      fd, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), std::move(scrape)));
  http->port_ = ntohs(parsed->sin_port);
  return http;
}

MetricsHttp::MetricsHttp(int listener, int wake,
                         std::function<std::string()> scrape)
    : listener_(listener),
      wake_(wake),
      scrape_(std::move(scrape)),
      thread_([this] { Loop(); }) {}

MetricsHttp::~MetricsHttp() {
  eventfd_write(wake_, 1);
  thread_.join();
  for (const Connection& connection : connections_) {
    close(connection.fd);
  }
  close(listener_);
  close(wake_);
}

void MetricsHttp::Loop() {
  while (true) {
    std::vector<pollfd> fds = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Connection& connection : connections_) {
      fds.push_back(
          {connection.fd,
           static_cast<short>(connection.out.empty() ? POLLIN : POLLOUT), 0});
    }
    poll(fds.data(), fds.size(), connections_.empty() ? -1 : 1000);
    if (fds[0].revents != 0) {
      return;
    }
    const absl::Time now = absl::Now();
    std::vector<Connection> kept;
    for (size_t i = 0; i < connections_.size(); ++i) {
      Connection& connection = connections_[i];
      if (now - connection.opened < kConnectionTimeout &&
          Serve(&connection, fds[i + 2].revents)) {
        kept.push_back(std::move(connection));
      } else {
        close(connection.fd);
      }
    }
    connections_ = std::move(kept);
    if (fds[1].revents != 0) {
      Accept();
    }
  }
}

void MetricsHttp::Accept() {
  const int fd =
      accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    return;
  }
  if (connections_.size() >= kMaxConnections) {
    // The one that has waited longest is the least likely to be a scrape.
    close(connections_.front().fd);
    connections_.erase(connections_.begin());
  }
  connections_.push_back({fd, absl::Now(), "", "", 0});
}

bool MetricsHttp::Serve(Connection* connection, short events) {
  if (events == 0) {
    return true;
  }
  if (connection->out.empty()) {
    char buffer[4096];
    const ssize_t n = recv(connection->fd, buffer, sizeof(buffer), 0);
    if (n <= 0) {
      return false;
    }
    connection->in.append(buffer, static_cast<size_t>(n));
    if (connection->in.size() > kMaxRequestBytes) {
      return false;
    }
    if (!absl::StrContains(connection->in, "\r\n\r\n")) {
      return true;
    }
    connection->out = Respond(connection->in);
  }
  const ssize_t n = send(
      connection->fd, connection->out.data() + connection->sent,
      connection->out.size() - connection->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0) {
    return errno == EAGAIN;
  }
  connection->sent += static_cast<size_t>(n);
  return connection->sent < connection->out.size();
}

std::string MetricsHttp::Respond(absl::string_view request) const {
  const bool is_scrape = absl::StartsWith(request, "GET /metrics ") ||
                         absl::StartsWith(request, "GET /metrics?");
  const std::string body = is_scrape ? scrape_() : "Metrics are at /metrics\n";
  return absl::StrCat(
      is_scrape ? "HTTP/1.0 200 OK" : "HTTP/1.0 404 Not Found",
      "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8"
      "\r\nConnection: close\r\nContent-Length: ",
      body.size(), "\r\n\r\n", body);
}

}  // namespace stockpot
