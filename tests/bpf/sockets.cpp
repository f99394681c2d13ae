#include "tests/bpf/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace lull::test {
namespace {

int must(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

Address loopback(bool v6, std::uint16_t port) {
  Address address{};
  if (v6) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_addr = in6addr_loopback;
    address.v6.sin6_port = htons(port);
  } else {
    address.v4.sin_family = AF_INET;
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.v4.sin_port = htons(port);
  }
  return address;
}

constexpr int wait_ms = 10'000;

void wait_readable(const Handle& socket) {
  pollfd entry{socket.get(), POLLIN, 0};
  if (must(::poll(&entry, 1, wait_ms), "poll") == 0) throw std::system_error(ETIMEDOUT, std::generic_category());
}

}  // namespace

Server::Server(Ip wanted, std::uint16_t wanted_port) : port(wanted_port), ip(wanted) {
  const bool v6 = ip != Ip::v4;
  listener = Handle(must(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  Address address = loopback(v6, port);
  if (ip == Ip::v4_to_dual_stack) address.v6.sin6_addr = in6addr_any;
  must(::bind(listener.get(), &address.any, sizeof(address)), "bind");
  must(::listen(listener.get(), 128), "listen");
  socklen_t length = sizeof(address);
  must(::getsockname(listener.get(), &address.any, &length), "getsockname");
  port = ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port);
}

Handle listen_unbound() {
  Handle listener(must(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  must(::listen(listener.get(), 1), "listen");
  return listener;
}

void enter_own_network() {
  must(::unshare(CLONE_NEWNET), "unshare");
  const Handle any(must(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"));
  ifreq loopback_up{};
  std::snprintf(loopback_up.ifr_name, sizeof(loopback_up.ifr_name), "lo");
  loopback_up.ifr_flags = IFF_UP;
  must(::ioctl(any.get(), SIOCSIFFLAGS, &loopback_up), "SIOCSIFFLAGS");
}

Handle connect_to(const Server& server) {
  const Address address = loopback(server.ip == Ip::v6, server.port);
  Handle connection(must(::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const int on = 1;  // no waiting for acknowledgements between the pieces of a request
  must(::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "TCP_NODELAY");
  must(::connect(connection.get(), &address.any, sizeof(address)), "connect");
  return connection;
}

Handle connect_to(const char* text, std::uint16_t port) {
  Address address{};
  if (::inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(port);
  } else {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(port);
    if (::inet_pton(AF_INET, text, &address.v4.sin_addr) != 1) throw std::invalid_argument(text);
  }
  Handle connection(must(::socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  must(::connect(connection.get(), &address.any, sizeof(address)), "connect");
  return connection;
}

Handle accept_from(const Server& server) {
  wait_readable(server.listener);
  return Handle(must(::accept4(server.listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept"));
}

void send_text(const Handle& connection, std::string_view text) {
  while (!text.empty())
    text.remove_prefix(static_cast<std::size_t>(
        must(static_cast<int>(::send(connection.get(), text.data(), text.size(), MSG_NOSIGNAL)), "send")));
}

void send_bytes(const Handle& connection, std::size_t count) { send_text(connection, std::string(count, 'a')); }

void receive_bytes(const Handle& connection, std::size_t count) {
  std::vector<char> bytes(count);
  while (count > 0) {
    wait_readable(connection);
    const int got = must(static_cast<int>(::recv(connection.get(), bytes.data(), count, 0)), "recv");
    if (got == 0) throw std::system_error(EPIPE, std::generic_category(), "recv: the peer has closed");
    count -= static_cast<std::size_t>(got);
  }
}

void shut_writing(const Handle& connection) { must(::shutdown(connection.get(), SHUT_WR), "shutdown"); }

void reset(Handle connection) {
  const linger at_once{1, 0};
  must(::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), "SO_LINGER");
}

bool eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(wait_ms);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return holds();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

Process::Process(const std::function<void()>& body) : pid_(must(::fork(), "fork")) {
  if (pid_ != 0) return;
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // the tests leave no process behind, even when killed
  try {
    body();
  } catch (...) {
  }
  ::_exit(1);
}

void Process::kill() {
  if (pid_ <= 0) return;
  (void)::kill(pid_, SIGKILL);
  (void)::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

Channel::Channel() {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC), "pipe");
  out_ = Handle(ends[0]);
  in_ = Handle(ends[1]);
}

void Channel::put(std::uint32_t value) { must(static_cast<int>(::write(in_.get(), &value, sizeof(value))), "write"); }

std::uint32_t Channel::get() {
  std::uint32_t value = 0;
  wait_readable(out_);
  must(static_cast<int>(::read(out_.get(), &value, sizeof(value))), "read");
  return value;
}

}  // namespace lull::test
