#include "tests/server/stalled_call.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "gtest/gtest.h"

namespace stockpot::testing {

namespace {

// RFC 9113 section 6.
enum FrameType : uint8_t { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4 };
constexpr uint8_t kAck = 1;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr size_t kFrameHeaderBytes = 9;

std::string BigEndian(uint32_t value, int num_bytes) {
  std::string bytes;
  for (int shift = 8 * (num_bytes - 1); shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(value >> shift & 0xFF));
  }
  return bytes;
}

std::string Frame(FrameType type, uint8_t flags, uint32_t stream,
                  const std::string& payload) {
  std::string frame = BigEndian(static_cast<uint32_t>(payload.size()), 3);
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  return frame + BigEndian(stream, 4) + payload;
}

// RFC 7541 section 6.2.2: a literal that is not indexed, of a new name. All
// strings here are shorter than 127 bytes.
std::string Header(const std::string& name, const std::string& value) {
  std::string text(1, '\0');
  for (const std::string& part : {name, value}) {
    EXPECT_LT(part.size(), 127u);
    text.push_back(static_cast<char>(part.size()));
    text += part;
  }
  return text;
}

// False if the other side closes before all came.
bool ReadExactly(int socket, size_t size, std::string* bytes) {
  bytes->resize(size);
  for (size_t at = 0; at < size;) {
    const ssize_t got = recv(socket, bytes->data() + at, size - at, 0);
    if (got <= 0) {
      return false;
    }
    at += static_cast<size_t>(got);
  }
  return true;
}

}  // namespace

StalledCall::StalledCall(int port, const std::string& path,
                         const std::string& request)
    : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address)),
            0);
  constexpr uint32_t kInitialWindowSize = 4;  // The setting's number.
  const std::string bytes =
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" +
      Frame(kSettings, 0, 0,
            BigEndian(kInitialWindowSize, 2) + BigEndian(0, 4)) +
      Frame(kHeaders, kEndHeaders, 1,
            Header(":method", "POST") + Header(":scheme", "http") +
                Header(":path", path) + Header(":authority", "localhost") +
                Header("te", "trailers") +
                Header("content-type", "application/grpc")) +
      Frame(kData, kEndStream, 1,
            std::string(1, '\0') +  // Not compressed.
                BigEndian(static_cast<uint32_t>(request.size()), 4) + request);
  EXPECT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(bytes.size()));
}

StalledCall::~StalledCall() { close(socket_); }

bool StalledCall::AwaitEnd() {
  std::string header;
  std::string payload;
  while (ReadExactly(socket_, kFrameHeaderBytes, &header)) {
    size_t size = 0;
    for (int i = 0; i < 3; ++i) {
      size = size << 8 | static_cast<uint8_t>(header[i]);
    }
    const auto type = static_cast<uint8_t>(header[3]);
    const auto flags = static_cast<uint8_t>(header[4]);
    if (!ReadExactly(socket_, size, &payload)) {
      return false;
    }
    EXPECT_NE(type, kData) << "against the window of 0";
    if (type == kSettings && (flags & kAck) == 0) {
      const std::string ack = Frame(kSettings, kAck, 0, "");
      EXPECT_GT(send(socket_, ack.data(), ack.size(), MSG_NOSIGNAL), 0);
    }
    if (type == kReset || (type == kHeaders && (flags & kEndStream) != 0)) {
      return true;
    }
  }
  return false;
}

}  // namespace stockpot::testing
