#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "broker/cli/cli.h"

namespace lull::cli {
namespace {

std::string what_to_do(int code) {
  if (code == EACCES || code == EPERM)
    return "the control socket is for root and the group lull: sudo usermod -aG lull $USER, then log in again";
  return "start it (sudo systemctl start lulld), or name its directory with --runtime-dir";
}

}  // namespace

std::string default_runtime_dir() {
  const char* chosen = std::getenv("LULL_RUNTIME_DIR");
  return chosen && *chosen ? chosen : "/run/lull";
}

int complain(Exit code, const std::string& what) {
  fmt::print(stderr, "lull: {}\n", what);
  return code;
}

Connection Connection::try_open(const std::string& runtime_dir, std::string& why_not) {
  Connection connection;
  const auto path = runtime_dir + "/control";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    why_not = fmt::format("--runtime-dir {} is too long for a socket", runtime_dir);
    return connection;
  }
  std::strcpy(address.sun_path, path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    connection.socket_ = std::move(socket);
    return connection;
  }
  const int why = errno;
  why_not = fmt::format("cannot reach lulld at {}: {}; {}", path, std::strerror(why), what_to_do(why));
  return connection;
}

Connection Connection::open(const std::string& runtime_dir, int& code) {
  std::string why_not;
  auto connection = try_open(runtime_dir, why_not);
  const bool too_long = (runtime_dir + "/control").size() >= sizeof sockaddr_un{}.sun_path;
  if (!connection) code = complain(too_long ? usage : no_broker, why_not);
  return connection;
}

bool Connection::send(const std::string& line) {
  const auto text = line + "\n";
  std::size_t done = 0;
  while (done < text.size()) {
    const auto sent = ::send(socket_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

bool Connection::take_line(std::string& line) {
  const auto end = buffer_.find('\n');
  if (end == std::string::npos) return false;
  line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return true;
}

bool Connection::read_more(int flags) {
  char more[65536];
  ssize_t got;
  do got = ::recv(socket_.get(), more, sizeof more, flags);
  while (got < 0 && errno == EINTR);
  if (got > 0) buffer_.append(more, static_cast<std::size_t>(got));
  return got > 0;
}

bool Connection::receive(std::string& line) {
  while (!take_line(line))
    if (!read_more(0)) return false;
  return true;
}

bool Connection::receive_ready(std::string& line) {
  while (!take_line(line))
    if (!read_more(MSG_DONTWAIT)) return false;
  return true;
}

void Connection::give_up_after(std::chrono::milliseconds limit) {
  const timeval time{limit.count() / 1000, limit.count() % 1000 * 1000};
  (void)::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);  // without it, it waits longer
}

void Connection::wait_for_text(std::chrono::milliseconds limit) {
  pollfd ready{socket_.get(), POLLIN, 0};
  (void)::poll(&ready, 1, static_cast<int>(limit.count()));
}

}  // namespace lull::cli
