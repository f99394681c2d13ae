// protocol/socket.h: seqpacket sockets that carry descriptors and the kernel's word on who is at the other end.
#pragma once
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <span>

#include "protocol/fd.h"
#include "protocol/messages.h"
#include "protocol/result.h"

namespace lull {

inline constexpr std::size_t max_descriptors = 4;

struct Packet {
  std::array<std::byte, max_message> bytes{};
  std::size_t size = 0;  // 0: the peer has closed
  std::array<Fd, max_descriptors> fds;
  std::size_t fd_count = 0;
  std::span<const std::byte> view() const { return {bytes.data(), size}; }
};

// All are non-blocking and close-on-exec. Errors carry errno; EAGAIN means "not now".
Result<Fd> connect_to(const char* path);
Result<Fd> listen_at(const char* path,
                     unsigned mode);  // EADDRINUSE when a live peer listens there; a dead one's file is replaced
Status send_packet(int socket, std::span<const std::byte> bytes, std::span<const int> fds = {});
Result<Packet> receive_packet(int socket);

template <class M>
Status send_message(int socket, const M& message, std::span<const int> fds = {}) {
  return send_packet(socket, std::as_bytes(std::span<const M, 1>(&message, 1)), fds);
}

struct Peer {
  int pid;  // as seen from this process's pid namespace; 0: not visible
  unsigned uid, gid;
};
Result<Peer> peer_of(int socket);

}  // namespace lull
