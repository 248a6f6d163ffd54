// A StalledCall asks for a stream and then takes not one byte of it, while its
// connection stays: HTTP/2 with a window of 0, which no gRPC client has.

#ifndef STOCKPOT_TESTS_SERVER_STALLED_CALL_H_
#define STOCKPOT_TESTS_SERVER_STALLED_CALL_H_

#include <string>

namespace stockpot::testing {

class StalledCall {
 public:
  // `path` as "/stockpot.v1.AdminService/BackupRegistry"; `request` as on the
  // wire, at most 16 KiB.
  StalledCall(int port, const std::string& path, const std::string& request);
  ~StalledCall();
  StalledCall(const StalledCall&) = delete;
  StalledCall& operator=(const StalledCall&) = delete;

  // Waits until the server ends the call, and returns true if it did so by
  // itself, not by closing the connection.
  bool AwaitEnd();

 private:
  int socket_ = -1;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_SERVER_STALLED_CALL_H_
