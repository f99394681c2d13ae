// shim/backing.h: host memory to evict to. The broker makes and pre-touches it (arenas); the mover registers it with
// the driver ahead of need; places in it are handed out in granules. Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lull::backing {

// From the link: maps an arena the broker sent. False: it could not be mapped; the descriptor is the caller's.
bool add_arena(int fd, std::uint64_t bytes);

// From the mover, with a context current: registers what has arrived since. An arena the driver refuses to register
// still serves, at the speed of pageable memory.
void register_arenas();

std::byte* take(std::uint64_t bytes);  // null: not enough
void give(std::byte* place, std::uint64_t bytes);
std::uint64_t total_bytes();  // of all arenas, registered or not
bool unregistered();          // an arena waits for register_arenas()

}  // namespace lull::backing
