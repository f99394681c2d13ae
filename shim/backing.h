// shim/backing.h: host memory to evict to. The broker makes and pre-touches it (arenas); the mover registers it with
// the driver ahead of need; places in it are handed out in granules. When the broker asks for memory back
// (protocol/page.h), what nobody needs is let go of, whole arenas at a time. Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

namespace lull::backing {

// From the link: maps an arena the broker sent. False: it could not be mapped; the descriptor is the caller's.
// `number` is the broker's name for it; 0: it is never asked back.
bool add_arena(int fd, std::uint64_t bytes, std::uint64_t number);

// From the mover, with a context current: registers what has arrived since. An arena the driver refuses to register
// still serves, at the speed of pageable memory.
void register_arenas();

std::byte* take(std::uint64_t bytes);  // null: not enough
void give(std::byte* place, std::uint64_t bytes);
std::uint64_t total_bytes();  // of all arenas, registered or not
bool unregistered();          // an arena waits for register_arenas()

// From the mover, with a context current and nothing urgent: comes down towards `limit` bytes, never below. Nothing is
// stored in arenas that are to go; copies there of chunks that are present are dropped; one that is empty goes, one
// each time. No limit: all stay.
void shrink(std::optional<std::uint64_t> limit);
bool may_shrink(std::optional<std::uint64_t> limit);  // shrink() would have something to do

// What went, for the link to tell the broker; each stays first in line until told() says that it was.
struct Gone {
  std::uint64_t number, bytes;
};
std::optional<Gone> gone();
void told();

}  // namespace lull::backing
