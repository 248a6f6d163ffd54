// A CutWire is a port on loopback that passes bytes on to a server until it is
// told to break: a network, as seen from a client.

#ifndef STOCKPOT_TESTS_SERVER_CUT_WIRE_H_
#define STOCKPOT_TESTS_SERVER_CUT_WIRE_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace stockpot::testing {

class CutWire {
 public:
  // Breaks the first `cuts.size()` connections, each after so many bytes from
  // the client; later ones last.
  CutWire(int server_port, std::vector<uint64_t> cuts);
  ~CutWire();

  int port() const { return port_; }
  // Connections that were broken.
  int num_cut() const { return num_cut_; }

 private:
  void Accept();
  // Both directions of one connection, until either end closes or `limit`
  // bytes came from the client.
  void Pass(int client, uint64_t limit);

  const int server_port_;
  const std::vector<uint64_t> cuts_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> num_cut_ = 0;
  std::vector<std::thread> connections_;  // Of the accepting thread alone.
  std::thread accepting_;
};

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_SERVER_CUT_WIRE_H_
