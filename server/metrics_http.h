// A MetricsHttp answers GET /metrics on a port of its own.
//
// One thread, at most kMaxConnections at a time, each cut after a few seconds:
// slow or silent connections cannot starve a scrape for longer. HTTP/1.0, no
// request body, no keep-alive.

#ifndef STOCKPOT_SERVER_METRICS_HTTP_H_
#define STOCKPOT_SERVER_METRICS_HTTP_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace stockpot {

class MetricsHttp {
 public:
  static constexpr int kMaxConnections = 32;

  // Listens on `address` ("host:port", numeric IPv4; port 0: any) and answers
  // with scrape().
  // Errors: InvalidArgument (the address), Unavailable (cannot listen).
  static absl::StatusOr<std::unique_ptr<MetricsHttp>> Start(
      const std::string& address, std::function<std::string()> scrape);
  ~MetricsHttp();

  int port() const { return port_; }

 private:
  struct Connection {
    int fd = -1;
    absl::Time opened;
    std::string in;
    std::string out;
    size_t sent = 0;
  };

  MetricsHttp(int listener, int wake, std::function<std::string()> scrape);

  void Loop();
  void Accept();
  // Returns false once the connection is done.
  bool Serve(Connection* connection, short events);
  std::string Respond(absl::string_view request) const;

  const int listener_;
  const int wake_;  // An eventfd: readable once the loop must end.
  const std::function<std::string()> scrape_;
  int port_ = 0;
  std::vector<Connection> connections_;  // The loop's own.
  std::thread thread_;
};

}  // namespace stockpot

#endif  // STOCKPOT_SERVER_METRICS_HTTP_H_
