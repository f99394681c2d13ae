#include "tests/driver/faults/control.h"

#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <future>
#include <memory>

#include "tests/driver/card/settings.h"
#include "tests/driver/faults/address.h"
#include "tests/driver/faults/faults.h"

namespace lull::sim {
namespace {

struct Start {
  std::string path;
  std::promise<std::string> problem;
};

std::string answer_to(std::string_view text) {
  std::string answers;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    Request request;
    std::string problem;
    const auto line = text.substr(0, end);
    if (!line.empty()) {
      const bool good = parse_request(line, request, problem) && apply_fault(request, problem);
      answers += good ? "ok\n" : "error: " + problem + "\n";
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return answers;
}

// A socket file that nobody serves any more is in the way; one that somebody serves is not ours to take.
bool bind_to(int fd, const SocketAddress& address) {
  if (::bind(fd, address.get(), address.length) == 0) return true;
  if (errno != EADDRINUSE || address.abstract()) return false;
  const int probe = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool served = ::connect(probe, address.get(), address.length) == 0;
  (void)::close(probe);
  if (served || ::unlink(address.address.sun_path) != 0) {
    errno = EADDRINUSE;
    return false;
  }
  return ::bind(fd, address.get(), address.length) == 0;
}

std::string open_socket(const std::string& path, int& fd) {
  SocketAddress address;
  if (!address.set(path)) return path + ": too long for the address of a socket";
  fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && bind_to(fd, address)) return {};
  return path + ": cannot serve it: " + std::strerror(errno);
}

void serve(int fd) {
  char text[4096];
  while (true) {
    sockaddr_un sender{};
    socklen_t length = sizeof sender;
    const ssize_t n = ::recvfrom(fd, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&sender), &length);
    if (n < 0 && errno != EINTR) return;
    if (n <= 0) continue;
    const std::string answer = answer_to({text, static_cast<std::size_t>(n)});
    // Who does not want the answer does not keep us.
    (void)::sendto(fd, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&sender), length);
  }
}

void* run(void* argument) {
  const std::unique_ptr<std::shared_ptr<Start>> start(static_cast<std::shared_ptr<Start>*>(argument));
  // From here on this thread has a table of its own, with nothing of the program's in it.
  (void)::syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE);
  int fd = -1;
  std::string problem = open_socket((*start)->path, fd);
  const bool serving = problem.empty();
  (*start)->problem.set_value(std::move(problem));
  if (serving) serve(fd);
  return nullptr;
}

}  // namespace

std::string start_control() {
  if (settings().control.empty()) return {};
  std::string path = settings().control;
  for (auto at = path.find("%p"); at != std::string::npos; at = path.find("%p"))
    path.replace(at, 2, std::to_string(::getpid()));
  const auto start = std::make_shared<Start>();
  start->path = path;
  auto problem = start->problem.get_future();
  auto argument = std::make_unique<std::shared_ptr<Start>>(start);
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of the program's runs there
  pthread_t thread{};
  const int error = ::pthread_create(&thread, nullptr, run, argument.get());
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return std::string("LULL_SIM_CONTROL: no thread for it: ") + std::strerror(error);
  (void)argument.release();  // the thread has it
  ::pthread_detach(thread);
  const std::string why = problem.get();
  return why.empty() ? why : "LULL_SIM_CONTROL: " + why;
}

}  // namespace lull::sim
