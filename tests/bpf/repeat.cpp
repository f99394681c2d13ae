#include "tests/bpf/repeat.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace lull::test {
namespace {

constexpr int repair_off_quietly = -1;  // without the window probe that leaving repair mode sends

void must(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
}

void set(const Handle& socket, int option, int value, const char* what) {
  must(::setsockopt(socket.get(), IPPROTO_TCP, option, &value, sizeof(value)), what);
}

// The sequence number of the next byte of one queue; TCP_REPAIR lets it be read without disturbing anything.
std::uint32_t next_sequence(const Handle& socket, int queue) {
  std::uint32_t sequence = 0;
  socklen_t length = sizeof(sequence);
  set(socket, TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE");
  must(::getsockopt(socket.get(), IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &length), "TCP_QUEUE_SEQ");
  return sequence;
}

struct [[gnu::packed]] Covered {  // by the checksum: a pseudo header, too
  std::uint32_t source, destination;
  std::uint8_t zero = 0, protocol = IPPROTO_TCP;
  std::uint16_t length;
  tcphdr tcp;
  std::uint8_t byte = 0;
  std::uint8_t even = 0;
};
constexpr std::size_t pseudo_bytes = 12;

std::uint16_t checksum(const Covered& covered) {
  std::uint8_t bytes[sizeof(Covered)];
  std::memcpy(bytes, &covered, sizeof(bytes));
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < sizeof(bytes); i += 2) sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

// The segment that is next in this connection, without data.
Covered next_of(const Handle& connection, const sockaddr_in& from, const sockaddr_in& to) {
  Covered next{};
  next.source = from.sin_addr.s_addr;
  next.destination = to.sin_addr.s_addr;
  next.length = htons(sizeof(tcphdr));
  next.tcp.source = from.sin_port;
  next.tcp.dest = to.sin_port;
  set(connection, TCP_REPAIR, 1, "TCP_REPAIR");
  next.tcp.seq = htonl(next_sequence(connection, TCP_SEND_QUEUE));
  next.tcp.ack_seq = htonl(next_sequence(connection, TCP_RECV_QUEUE));
  set(connection, TCP_REPAIR, repair_off_quietly, "TCP_REPAIR");
  next.tcp.doff = sizeof(tcphdr) / 4;
  next.tcp.ack = 1;
  next.tcp.window = htons(1000);
  return next;
}

}  // namespace

Segment::Segment(const Handle& connection, std::size_t data_bytes)
    : raw_(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP)) {
  sockaddr_in from{};
  socklen_t length = sizeof(from);
  must(::getsockname(connection.get(), reinterpret_cast<sockaddr*>(&from), &length), "getsockname");
  must(::getpeername(connection.get(), reinterpret_cast<sockaddr*>(&to_), &length), "getpeername");
  Covered covered = next_of(connection, from, to_);
  if (data_bytes == 1) {
    covered.tcp.seq = htonl(ntohl(covered.tcp.seq) - 1);
    covered.length = htons(sizeof(tcphdr) + 1);
    covered.byte = 'a';
  }
  covered.tcp.check = checksum(covered);
  const auto* start = reinterpret_cast<const std::uint8_t*>(&covered) + pseudo_bytes;
  bytes_.assign(start, start + sizeof(tcphdr) + data_bytes);
  to_.sin_port = 0;
}

Segment Segment::last_byte(const Handle& connection) { return {connection, 1}; }
Segment Segment::acknowledgement(const Handle& connection) { return {connection, 0}; }

void Segment::send() const {
  must(static_cast<int>(
           ::sendto(raw_.get(), bytes_.data(), bytes_.size(), 0, reinterpret_cast<const sockaddr*>(&to_), sizeof(to_))),
       "sendto");
}

}  // namespace lull::test
