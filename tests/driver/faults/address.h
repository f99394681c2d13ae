// The address of a Unix socket: a path, or @NAME for one without a file.
#pragma once
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <string>

namespace lull::sim {

struct SocketAddress {
  sockaddr_un address{};
  socklen_t length = 0;

  bool set(const std::string& path) {
    if (path.empty() || path.size() >= sizeof address.sun_path) return false;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    if (path[0] != '@') return true;
    address.sun_path[0] = 0;
    --length;  // such a name has no end but its length
    return true;
  }
  bool abstract() const { return address.sun_path[0] == 0; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

}  // namespace lull::sim
