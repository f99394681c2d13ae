#include "protocol/messages.h"

#include <algorithm>
#include <cstring>

namespace lull {
namespace {

template <std::size_t n>
bool clean(char (&text)[n]) {
  const auto* end = static_cast<const char*>(std::memchr(text, 0, n));
  if (!end) return false;
  for (char* c = text; c != end; ++c)
    if (*c < ' ' || *c > '~') *c = '?';
  return true;
}

bool clean(Hello& m) { return clean(m.tenant) && clean(m.shim_version); }
bool clean(Welcome&) { return true; }
bool clean(Refused& m) { return clean(m.sentence); }
bool clean(Attach& m) { return m.slot < max_gpus; }
bool clean(Arena& m) { return m.bytes != 0 && m.bytes % (2u << 20) == 0; }

bool clean(Returned& m) { return m.number != 0 && m.bytes != 0 && m.bytes % (2u << 20) == 0; }

bool clean(Spill& m) {
  const bool step = m.step <= static_cast<std::uint32_t>(SpillStep::resumed);
  return step && m.number != 0 && m.bytes != 0 && m.bytes % (2u << 20) == 0 && m.changing <= m.bytes;
}
bool clean(Spilled& m) { return m.number != 0 && m.bytes != 0 && m.bytes % (2u << 20) == 0; }
bool clean(Filled& m) { return m.number != 0; }

// What a peer of an older minor version sends.
template <class M>
constexpr std::size_t least_bytes = sizeof(M);
template <>
constexpr std::size_t least_bytes<Arena> = offsetof(Arena, number);

template <class M>
std::optional<Message> take(std::span<const std::byte> bytes) {
  if (bytes.size() < least_bytes<M>) return std::nullopt;
  M m{};
  std::memcpy(&m, bytes.data(), std::min(bytes.size(), sizeof m));
  if (!clean(m)) return std::nullopt;
  return m;
}

}  // namespace

std::optional<Message> parse_message(std::span<const std::byte> untrusted) {
  Header header;
  if (untrusted.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, untrusted.data(), sizeof header);
  if (header.bytes != untrusted.size()) return std::nullopt;
  switch (static_cast<MessageType>(header.type)) {
    case MessageType::hello: return take<Hello>(untrusted);
    case MessageType::welcome: return take<Welcome>(untrusted);
    case MessageType::refused: return take<Refused>(untrusted);
    case MessageType::attach: return take<Attach>(untrusted);
    case MessageType::arena: return take<Arena>(untrusted);
    case MessageType::returned: return take<Returned>(untrusted);
    case MessageType::spill: return take<Spill>(untrusted);
    case MessageType::spilled: return take<Spilled>(untrusted);
    case MessageType::filled: return take<Filled>(untrusted);
  }
  return Unknown{};
}

std::optional<std::uint16_t> common_minor(std::uint16_t major, std::uint16_t minor) {
  if (major != protocol_major) return std::nullopt;
  return minor < protocol_minor ? minor : protocol_minor;
}

}  // namespace lull
