// tests/bpf/repeat.h: TCP segments that the kernel would send only when something has been lost or overtaken. They need
// IPv4, CAP_NET_ADMIN and CAP_NET_RAW.
#pragma once
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bpf/handle.h"

namespace lull::test {

// A segment of a connection, made before it is needed.
class Segment {
 public:
  static Segment last_byte(const Handle& connection);  // which has been sent before
  static Segment acknowledgement(const Handle& connection);
  void send() const;

 private:
  Segment(const Handle& connection, std::size_t data_bytes);
  Handle raw_;
  sockaddr_in to_{};
  std::vector<std::uint8_t> bytes_;
};

}  // namespace lull::test
