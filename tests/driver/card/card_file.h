// The shared layout of a card's file: this head, the owners of the granules, then (aligned) the granules.
#pragma once
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tests/driver/card/card.h"
#include "tests/driver/card/link.h"

namespace lull::sim {

inline constexpr std::size_t card_slots = 256, card_shares = 1024, card_events = 512;
inline constexpr std::uint16_t shared_owner = 0x8000;  // with the index of the share

// A process on the card. The start time tells it from a later process of the same number.
struct Slot {
  std::int32_t pid;
  std::uint32_t reserved;
  std::uint64_t start_time;
  std::uint64_t native_bytes;
  std::uint64_t withheld_bytes;  // nobody's, missing while this process lives
  std::uint64_t granules;
};

struct Share {
  std::uint64_t serial;  // 0: unused
  std::uint64_t granules;
  std::array<std::uint64_t, card_slots / 64> holders;  // a bit for each slot
  ShareNote note;
};
int first_holder(const Share& share);  // -1: none, only descriptors refer to it

struct SharedEvent {
  struct Record {
    std::uint64_t number;  // 0: none
    std::uint32_t slot;    // + 1, of the process that is to reach it
    std::uint32_t reserved;
  };
  std::uint64_t serial;  // 0: unused
  std::uint64_t latest;
  std::uint32_t owner;                 // slot + 1
  std::atomic<std::uint32_t> changes;  // futex
  std::array<Record, 32> pending;
};

struct ComputeEngine {
  std::atomic<std::uint32_t> holder;  // slot + 1, 0 = free; also the futex
  std::atomic<std::uint32_t> waiter;  // slot + 1 of one that waits
  std::atomic<std::uint32_t> last;    // slot + 1 of the last holder
  std::uint32_t reserved;
  std::atomic<std::uint64_t> since_ns;
  std::atomic<std::uint64_t> busy_ns;  // of holders that have ended
};

// The transfers of one engine in the order they were queued, the settled ones first. Some of those stay, because what
// is queued late may have been ready while they moved. An index plus first_id is a transfer's number.
struct TransferQueue {
  static constexpr std::uint32_t most = 512, kept = 128;
  std::uint64_t first_id;
  std::uint32_t count;
  std::uint32_t reserved;
  std::uint64_t busy_ns;  // of those that are over
  std::array<Transfer, most> transfers;
  std::array<std::uint8_t, most> collected;  // its owner knows when it was over

  std::span<Transfer> all() { return {transfers.data(), count < most ? count : most}; }
};

struct CardFile {
  std::uint64_t magic;  // 0: its maker died
  std::uint64_t layout;
  std::uint64_t bytes;      // of device memory, whole granules
  std::uint64_t memory_at;  // offset of the first granule
  std::uint32_t granules;
  std::uint32_t next_granule;  // where the search for free ones goes on
  std::array<std::uint8_t, 16> uuid;
  pthread_mutex_t mutex;  // robust: guards slots and owners
  std::array<Slot, card_slots> slots;
  std::array<Share, card_shares> shares;        // guarded by the mutex
  std::array<SharedEvent, card_events> events;  // guarded by the mutex, but for the futex words
  std::uint64_t last_share;                     // the serial of the newest share or event
  std::uint32_t share_end;                      // none from here on has ever been used
  std::uint32_t reserved;
  std::array<TransferQueue, engine_count> engines;  // guarded by the mutex
  ComputeEngine compute;

  std::uint16_t* owners() { return reinterpret_cast<std::uint16_t*>(this + 1); }  // slot + 1 or a share, 0 = free
  std::span<Share> used_shares() { return {shares.data(), share_end}; }
};

inline constexpr std::uint64_t card_magic = 0x0044'5241'434d'4953u;  // "SIMCARD"

// A file that another build of the simulator left behind is replaced, not read. Whoever gives a field a new meaning at
// its old place counts the seed up.
constexpr std::uint64_t layout_of_card() {
  std::uint64_t hash = 5;
  for (const std::size_t part :
       {sizeof(CardFile), sizeof(Slot), sizeof(Share), sizeof(ShareNote), sizeof(TransferQueue), sizeof(Transfer),
        offsetof(Transfer, alone), offsetof(Transfer, start_ns), sizeof(SharedEvent), offsetof(CardFile, shares),
        offsetof(CardFile, engines), offsetof(CardFile, compute)})
    hash = (hash ^ part) * 0x100000001b3u;
  return hash;
}

// Holds the card's mutex. If its last holder died in between, the counts are made anew from the owners.
class Locked {
 public:
  explicit Locked(CardFile& file);
  ~Locked();
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  void recount();
  CardFile& file_;
};

// Whether the process that once had this number and start time still lives; a zombie does not.
bool alive(const Slot& slot);
std::uint64_t start_time_of(int pid);  // 0: no such process, or a zombie without threads

}  // namespace lull::sim
