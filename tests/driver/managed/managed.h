// Managed memory: one address for host and devices, its pages now here, now there.
//
// Its bytes lie in memory of the process and never move, so host and kernels may touch them at any time, as the header
// promises. What moves is where they count: a block of 64 KiB is nowhere until it is first used, then it is charged to
// a card or it is the host's. A prefetch moves blocks and takes the copy engine for those that held data; so does a
// kernel that is given an address of an allocation, which brings the whole of it. A copy or memset brings what it
// touches. What the host touches cannot be seen: blocks stay where they are.
// What is advised as mostly read stays on a card also when it is prefetched to the host, which then has a copy.
// A full card keeps working: what finds no room is the host's, and memory that cannot move (cuMemAlloc and its like)
// drives managed blocks of the process to the host, as the header says of prefetches and as drivers do for all.
#pragma once
#include <cstdint>

#include "tests/driver/context/context.h"

namespace lull::sim {

inline constexpr std::size_t managed_block_bytes = 64u << 10;

// 0: no address space left. Known to Space as an allocation; free it with release().
std::uintptr_t allocate_managed(Context& context, std::size_t bytes, unsigned attach);
bool is_managed(std::uintptr_t address, std::size_t bytes);  // all of it, in one allocation

// A device uses what is there: it is the device's from now on, as far as there is room.
void managed_touched(Device& device, std::uintptr_t address, std::size_t bytes);
// Every allocation that a word of a kernel's parameters points into.
void managed_touched_by(Running& running, const std::byte* parameters, std::size_t bytes);

// The card lacks this much: blocks of this process go to the host. False: that would not be enough.
bool managed_gives_way(Device& device, std::size_t bytes);
// Its memory is no longer charged. From release(), which holds Space::mutex.
void forget_managed(std::uintptr_t base);

}  // namespace lull::sim
