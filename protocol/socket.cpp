#include "protocol/socket.h"

#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace lull {
namespace {

Result<sockaddr_un> address_of(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) return Error{"socket path too long", ENAMETOOLONG};
  std::strcpy(address.sun_path, path);
  return address;
}

Result<Fd> make_socket() {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return system_error("socket");
  return fd;
}

}  // namespace

Result<Fd> connect_to(const char* path) {
  auto address = address_of(path);
  if (!address) return address.error();
  auto fd = make_socket();
  if (!fd) return fd;
  if (::connect(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return system_error("connect");
  return fd;
}

Result<Fd> listen_at(const char* path, unsigned mode) {
  auto address = address_of(path);
  if (!address) return address.error();
  if (auto live = connect_to(path)) return Error{"a broker already listens here", EADDRINUSE};
  (void)::unlink(path);  // a socket file whose owner is gone; if it cannot be removed, bind says so
  auto fd = make_socket();
  if (!fd) return fd;
  if (::bind(fd->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return system_error("bind");
  if (::chmod(path, mode) != 0) return system_error("chmod socket");
  if (::listen(fd->get(), 128) != 0) return system_error("listen");
  return fd;
}

Status send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> fds) {
  if (fds.size() > max_descriptors) return Error{"too many descriptors", EINVAL};
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * max_descriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(head), fds.data(), sizeof(int) * fds.size());
  }
  if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return system_error("send");
  return Done{};
}

Result<Packet> receive_packet(int socket) {
  Packet packet;
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * max_descriptors)];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const auto got = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return system_error("receive");
  packet.size = static_cast<std::size_t>(got);
  // Take ownership of every descriptor first, so that none leaks whatever the packet turns out to be.
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
      Fd owned(fd);
      if (packet.fd_count < max_descriptors) packet.fds[packet.fd_count++] = std::move(owned);
    }
  }
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return Error{"packet too long", EMSGSIZE};
  return packet;
}

Result<Peer> peer_of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return system_error("SO_PEERCRED");
  return Peer{credentials.pid, credentials.uid, credentials.gid};
}

}  // namespace lull
