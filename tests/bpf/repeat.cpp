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

struct [[gnu::packed]] Segment {  // with the pseudo header that its checksum covers
  std::uint32_t source, destination;
  std::uint8_t zero = 0, protocol = IPPROTO_TCP;
  std::uint16_t length;
  tcphdr tcp;
  std::uint8_t byte = 'a';
  std::uint8_t even = 0;
};
constexpr std::size_t pseudo_bytes = 12, segment_bytes = sizeof(tcphdr) + 1;

std::uint16_t checksum(const Segment& segment) {
  std::uint8_t bytes[sizeof(Segment)];
  std::memcpy(bytes, &segment, sizeof(bytes));
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < sizeof(bytes); i += 2) sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<std::uint16_t>(~sum));
}

}  // namespace

void send_last_byte_again(const Handle& connection) {
  sockaddr_in from{}, to{};
  socklen_t length = sizeof(from);
  must(::getsockname(connection.get(), reinterpret_cast<sockaddr*>(&from), &length), "getsockname");
  must(::getpeername(connection.get(), reinterpret_cast<sockaddr*>(&to), &length), "getpeername");
  Segment segment{};
  segment.source = from.sin_addr.s_addr;
  segment.destination = to.sin_addr.s_addr;
  segment.length = htons(segment_bytes);
  segment.tcp.source = from.sin_port;
  segment.tcp.dest = to.sin_port;
  set(connection, TCP_REPAIR, 1, "TCP_REPAIR");
  segment.tcp.seq = htonl(next_sequence(connection, TCP_SEND_QUEUE) - 1);
  segment.tcp.ack_seq = htonl(next_sequence(connection, TCP_RECV_QUEUE));
  set(connection, TCP_REPAIR, repair_off_quietly, "TCP_REPAIR");
  segment.tcp.doff = sizeof(tcphdr) / 4;
  segment.tcp.ack = 1;
  segment.tcp.window = htons(1000);
  segment.tcp.check = checksum(segment);
  const Handle raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP));
  to.sin_port = 0;
  const auto* start = reinterpret_cast<const std::uint8_t*>(&segment) + pseudo_bytes;
  must(static_cast<int>(::sendto(raw.get(), start, segment_bytes, 0, reinterpret_cast<const sockaddr*>(&to), length)),
       "sendto");
}

}  // namespace lull::test
