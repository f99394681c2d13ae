// protocol/messages.h: what travels over a client's socket (SOCK_SEQPACKET, one message a packet).
//
//   shim → broker   hello            once, first
//                   attach           for each GPU the process uses, when its first context there is seen
//   broker → shim   welcome          with three descriptors: down page, up page, doorbell (an eventfd the shim rings
//                                    after a change to the up page)
//                   refused          the client is not managed; a sentence says why. The socket is closed after it
//                   arena            with one descriptor: sealed memory to evict to
//   shim → broker   returned         an arena the shim has let go of, because it was asked to (backing_limit_plus_1 in
//                                    the down page). From here on the shim has no mapping of it and will not look at it
//                                    again: the broker frees the memory itself, also under the feet of one that lies
//
// Everything else (gate, quota, phase, sizes) is in the pages. Every message starts with Header. A receiver ignores
// unknown types and bytes beyond the ones it knows, so that a newer minor version can add both; it drops a peer whose
// message is shorter than its type was when it was first added; fields added later then read 0. Identity (pid, uid,
// class) comes from the socket, never from a message.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>

#include "protocol/page.h"

namespace lull {

enum class MessageType : std::uint16_t {
  hello = 1,
  welcome = 2,
  refused = 3,
  attach = 4,
  arena = 5,
  returned = 6,
  spill = 7,
  spilled = 8,
  filled = 9
};

struct Header {
  std::uint16_t type;
  std::uint16_t bytes;  // of the whole message
  std::uint32_t reserved;
};

struct Hello {
  static constexpr auto type = MessageType::hello;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint16_t major, minor;
  std::uint32_t flags;          // HelloFlags
  std::uint64_t backing_bytes;  // of arenas kept from an earlier broker; they count against the host budget
  char tenant[64];              // LULL_TENANT, or "" (then the broker names it: container, unit, command)
  char shim_version[32];        // for people
};
enum HelloFlags : std::uint32_t {
  hello_gang = 1,    // WORLD_SIZE > 1: this process is resident together with others
  hello_native = 2,  // LULL_IPC=native: nothing of this process can be evicted
};

struct Welcome {
  static constexpr auto type = MessageType::welcome;
  static constexpr std::size_t descriptors = 3;
  Header header;
  std::uint16_t major, minor;
  std::uint32_t client;  // the broker's number for this client, for people
};

struct Refused {
  static constexpr auto type = MessageType::refused;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint16_t major, minor;
  std::uint32_t retry_ms;  // 0: do not try again
  char sentence[176];
};

struct Attach {
  static constexpr auto type = MessageType::attach;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint32_t slot;  // index of the record in both pages, < max_gpus
  std::uint32_t reserved;
  std::uint8_t uuid[16];
  std::uint64_t total_bytes;  // as the driver says; the broker trusts its own source
};

struct Arena {
  static constexpr auto type = MessageType::arena;
  static constexpr std::size_t descriptors = 1;
  Header header;
  std::uint64_t bytes;   // size of the memory behind the descriptor, a multiple of 2 MiB
  std::uint64_t number;  // what `returned` calls it; no other arena of any broker has it. 0: of a broker of minor 0,
                         // which takes nothing back: the memory is the client's until it ends
};

// The shim sends it over any connection, also to another broker than the one that gave the arena. If the message
// cannot be sent, it is sent later, if need be after the next welcome; an arena that is never returned costs its place
// in the budget until the process ends.
struct Returned {
  static constexpr auto type = MessageType::returned;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint64_t number;  // as in Arena, never 0
  std::uint64_t bytes;   // as in Arena
};

enum class SpillStep : std::uint32_t { parked = 0, kept = 1, recalled = 2, resumed = 3 };

struct Spill {
  static constexpr auto type = MessageType::spill;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint64_t number;    // as in Arena, never 0
  std::uint64_t bytes;     // likewise
  std::uint32_t step;      // SpillStep
  std::uint32_t turn;      // which parking of this arena it is about; answers repeat it
  std::uint64_t changing;  // parked: of its content, what was written anew at the last eviction
};

struct Spilled {
  static constexpr auto type = MessageType::spilled;
  static constexpr std::size_t descriptors = 1;
  Header header;
  std::uint64_t number, bytes;
  std::uint64_t sum[2];  // of the content (protocol/checksum.h)
  std::uint32_t turn, reserved;
};

struct Filled {
  static constexpr auto type = MessageType::filled;
  static constexpr std::size_t descriptors = 0;
  Header header;
  std::uint64_t number;
  std::uint32_t lost;  // != 0: the file cannot be read, or is not what was written; it is tried again when recalled
  std::uint32_t turn;
};

static_assert(sizeof(Header) == 8);
static_assert(sizeof(Hello) == 120 && offsetof(Hello, tenant) == 24);
static_assert(sizeof(Welcome) == 16 && sizeof(Refused) == 192);
static_assert(sizeof(Attach) == 40 && sizeof(Arena) == 24 && sizeof(Returned) == 24);
static_assert(sizeof(Spill) == 40 && sizeof(Spilled) == 48 && sizeof(Filled) == 24);
static_assert(std::is_trivially_copyable_v<Hello> && std::is_trivially_copyable_v<Attach>);

inline constexpr std::size_t max_message = 512;

// A zeroed message with its header filled in.
template <class M>
M make_message() {
  M m{};
  m.header = {static_cast<std::uint16_t>(M::type), sizeof(M), 0};
  return m;
}

struct Unknown {};  // a type this side does not know: skip it
using Message = std::variant<Unknown, Hello, Welcome, Refused, Attach, Arena, Returned, Spill, Spilled, Filled>;

// Parses untrusted bytes. Nothing: malformed (too short for its type, wrong length, unterminated text): drop the peer.
// Text fields are guaranteed to be terminated and printable ASCII afterwards (other bytes become '?').
std::optional<Message> parse_message(std::span<const std::byte> untrusted);

// The minor version both sides speak, or nothing if the majors differ.
std::optional<std::uint16_t> common_minor(std::uint16_t major, std::uint16_t minor);

}  // namespace lull
