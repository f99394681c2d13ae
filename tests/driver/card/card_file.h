// The shared layout of a card's file: this head, the owners of the granules, then (aligned) the granules.
#pragma once
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tests/driver/card/card.h"

namespace lull::sim {

inline constexpr std::uint64_t card_magic = 0x32445241434d4953u;  // "SIMCARD2"
inline constexpr std::size_t card_slots = 256;

// A process on the card. The start time tells it from a later process of the same number.
struct Slot {
  std::int32_t pid;
  std::uint32_t reserved;
  std::uint64_t start_time;
  std::uint64_t native_bytes;
  std::uint64_t granules;
};

struct ComputeEngine {
  std::atomic<std::uint32_t> holder;  // slot + 1, 0 = free; also the futex
  std::atomic<std::uint32_t> waiter;  // slot + 1 of one that waits
  std::atomic<std::uint32_t> last;    // slot + 1 of the last holder
  std::uint32_t reserved;
  std::atomic<std::uint64_t> since_ns;
};

struct CardFile {
  std::uint64_t magic;
  std::uint64_t bytes;      // of device memory, whole granules
  std::uint64_t memory_at;  // offset of the first granule
  std::uint32_t granules;
  std::uint32_t next_granule;  // where the search for free ones goes on
  std::array<std::uint8_t, 16> uuid;
  pthread_mutex_t mutex;  // robust: guards slots and owners
  std::array<Slot, card_slots> slots;
  std::array<std::atomic<std::uint64_t>, 2> copy_free_at_ns;
  ComputeEngine compute;

  std::uint16_t* owners() { return reinterpret_cast<std::uint16_t*>(this + 1); }  // slot + 1, 0 = free
};

// Whether the process that once had this number and start time still lives; a zombie does not.
bool alive(const Slot& slot);
std::uint64_t start_time_of(int pid);  // 0: no such process, or a zombie without threads

}  // namespace lull::sim
