// tests/bpf/sockets.h: real TCP sockets for the tests. Whatever fails throws; every wait has a bound.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "bpf/handle.h"

namespace lull::test {

enum class Ip { v4, v6, v4_to_dual_stack };

struct Server {
  explicit Server(Ip ip = Ip::v4, std::uint16_t port = 0);
  Handle listener;
  std::uint16_t port;
  Ip ip;
};

Handle listen_unbound();   // on a port that the kernel chooses during listen()
void enter_own_network();  // a new network namespace with its loopback up
Handle connect_to(const Server&);
Handle connect_to(const char* address, std::uint16_t port);  // a numeric one, of IPv4 or IPv6
Handle accept_from(const Server&);
void send_text(const Handle&, std::string_view);
void send_bytes(const Handle&, std::size_t count = 1);
void receive_bytes(const Handle&, std::size_t count = 1);  // exactly; fails after 10 s
void shut_writing(const Handle&);
void reset(Handle connection);  // closes with RST

// Polls until true, up to 10 s. What it returns is the last answer.
bool eventually(const std::function<bool()>& holds);

// A child process that runs `body` and is killed and awaited with its owner. The body must not return.
class Process {
 public:
  explicit Process(const std::function<void()>& body);
  ~Process() { kill(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  int pid() const { return pid_; }
  void kill();

 private:
  pid_t pid_;
};

// One end writes a number, the other, in another process, waits for it.
class Channel {
 public:
  Channel();
  void put(std::uint32_t value);
  std::uint32_t get();

 private:
  Handle in_, out_;
};

}  // namespace lull::test
