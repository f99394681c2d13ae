// sim-control SOCKET REQUEST...: asks a process that uses the simulated driver for faults, see faults/request.h.
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/driver/faults/address.h"

namespace {

int complain(const char* socket, const char* what) {
  std::fprintf(stderr, "sim-control: %s: %s: %s\n", socket, what, std::strerror(errno));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using lull::sim::SocketAddress;
  SocketAddress address;
  if (argc < 3 || !address.set(argv[1])) {
    std::fprintf(stderr, "usage: sim-control SOCKET REQUEST...   (what LULL_SIM_CONTROL named; faults/request.h)\n");
    return 2;
  }
  std::string requests;
  for (int i = 2; i < argc; ++i) requests += std::string(argv[i]) + "\n";
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  // An address of its own, so that it can be answered; the kernel chooses it.
  if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own.sun_family) != 0)
    return complain(argv[1], "no socket");
  const timeval patience{5, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::sendto(fd, requests.data(), requests.size(), 0, address.get(), address.length) < 0)
    return complain(argv[1], "nobody serves it");
  char answer[8192];
  const ssize_t n = ::recv(fd, answer, sizeof answer - 1, 0);
  if (n < 0) return complain(argv[1], "no answer");
  answer[n] = 0;
  std::fputs(answer, stdout);
  return std::strstr(answer, "error:") ? 1 : 0;
}
