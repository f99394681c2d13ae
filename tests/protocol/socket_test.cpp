#include "protocol/socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

using namespace lull;

namespace {

struct Folder {
  char path[32] = "/tmp/lull-socket-XXXXXX";
  Folder() { REQUIRE(::mkdtemp(path)); }
  ~Folder() { (void)std::system(("rm -rf " + std::string(path)).c_str()); }
  std::string operator/(const char* name) const { return std::string(path) + "/" + name; }
};

Fd accept_one(int listener) {
  pollfd wait{listener, POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 5000) == 1);
  return Fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

}  // namespace

TEST_CASE("messages and descriptors cross a socket, and the kernel says who sent them") {
  Folder folder;
  const auto path = folder / "broker";
  auto listener = listen_at(path.c_str(), 0600);
  REQUIRE(listener);
  auto client = connect_to(path.c_str());
  REQUIRE(client);
  const Fd server = accept_one(listener->get());
  const Fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto arena = make_message<Arena>();
  arena.bytes = 2u << 20;
  const int fds[] = {file.get()};
  REQUIRE(send_message(server.get(), arena, fds));
  auto packet = receive_packet(client->get());
  REQUIRE(packet);
  CHECK(packet->fd_count == 1);
  CHECK(std::get<Arena>(*parse_message(packet->view())).bytes == 2u << 20);
  CHECK((::fcntl(packet->fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
  const auto peer = peer_of(server.get());
  REQUIRE(peer);
  CHECK(peer->pid == ::getpid());
}

TEST_CASE("nothing to read is EAGAIN and a closed peer is an empty packet") {
  Folder folder;
  const auto path = folder / "broker";
  auto listener = listen_at(path.c_str(), 0600);
  REQUIRE(listener);
  auto client = connect_to(path.c_str());
  Fd server = accept_one(listener->get());
  const auto nothing = receive_packet(client->get());
  REQUIRE_FALSE(nothing);
  CHECK(nothing.error().code == EAGAIN);
  server.reset();
  const auto closed = receive_packet(client->get());
  REQUIRE(closed);
  CHECK(closed->size == 0);
}

TEST_CASE("a second broker is refused, a dead one's socket is taken over") {
  Folder folder;
  const auto path = folder / "broker";
  auto first = listen_at(path.c_str(), 0600);
  REQUIRE(first);
  const auto second = listen_at(path.c_str(), 0600);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == EADDRINUSE);
  first->reset();
  CHECK(listen_at(path.c_str(), 0640));
  struct stat status;
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0640);
}

TEST_CASE("an over-long path is an error, not a truncated address") {
  const auto result = connect_to(std::string(200, 'x').c_str());
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ENAMETOOLONG);
}
