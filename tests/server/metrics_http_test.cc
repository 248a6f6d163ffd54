#include "server/metrics_http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/status_matchers.h"

namespace stockpot {
namespace {

using ::stockpot::testing::IsOk;
using ::stockpot::testing::StatusIs;
using ::testing::_;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  return fd;
}

std::string Fetch(int port, const std::string& request) {
  const int fd = Connect(port);
  EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) {
    answer.append(buffer, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

class MetricsHttpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto http = MetricsHttp::Start("127.0.0.1:0", [] {
      return "m 1\n" + std::string(1 << 20, '#') + "\nend\n";
    });
    ASSERT_THAT(http, IsOk());
    http_ = *std::move(http);
  }
  std::unique_ptr<MetricsHttp> http_;
};

TEST_F(MetricsHttpTest, AnswersAScrapeWhole) {
  const std::string answer =
      Fetch(http_->port(), "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.0 200 OK"));
  EXPECT_THAT(answer, HasSubstr("version=0.0.4"));
  EXPECT_THAT(answer, EndsWith("\nend\n"));
}

TEST_F(MetricsHttpTest, OtherPathsAreNotFound) {
  EXPECT_THAT(Fetch(http_->port(), "GET /etc/passwd HTTP/1.1\r\n\r\n"),
              StartsWith("HTTP/1.0 404"));
  EXPECT_THAT(Fetch(http_->port(), "POST /metrics HTTP/1.1\r\n\r\n"),
              StartsWith("HTTP/1.0 404"));
}

TEST_F(MetricsHttpTest, SilentConnectionsDoNotStarveAScrape) {
  std::vector<int> silent;
  for (int i = 0; i < 100; ++i) {
    silent.push_back(Connect(http_->port()));
    send(silent.back(), "GET", 3, MSG_NOSIGNAL);
  }
  EXPECT_THAT(Fetch(http_->port(), "GET /metrics HTTP/1.1\r\n\r\n"),
              StartsWith("HTTP/1.0 200 OK"));
  for (const int fd : silent) {
    close(fd);
  }
}

TEST_F(MetricsHttpTest, EndlessRequestIsCut) {
  const int fd = Connect(http_->port());
  const std::string junk(1000, 'x');
  ssize_t sent = 0;
  while (sent >= 0 && sent < (1 << 22)) {
    const ssize_t n = send(fd, junk.data(), junk.size(), MSG_NOSIGNAL);
    if (n < 0) break;
    sent += n;
  }
  EXPECT_LT(sent, 1 << 22);
  close(fd);
}

TEST(MetricsHttpAddressTest, BadAddressIsRefused) {
  for (const char* address : {"", "x", "localhost:1", "1.2.3.4:99999"}) {
    EXPECT_THAT(MetricsHttp::Start(address, [] { return ""; }),
                StatusIs(absl::StatusCode::kInvalidArgument, _))
        << address;
  }
}

}  // namespace
}  // namespace stockpot
