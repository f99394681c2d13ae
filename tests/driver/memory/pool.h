// Stream-ordered memory. A pool has chunks of mapped device memory and hands out blocks of them.
//
// An allocation is made when it is asked for; a free happens in the order of its stream. Until the stream has got there
// the block is a hole that only later allocations of that stream may take, for what was queued before still uses it.
// What a pool holds and nobody uses is given back at a synchronisation (beyond the release threshold), by TrimTo, and
// whenever the card has nothing else left.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "tests/driver/memory/memory.h"

namespace lull::sim {

// Current, and the highest since the last reset.
struct Watermark {
  std::uint64_t now = 0, high = 0;
  void add(std::uint64_t bytes) { high = std::max(high, now += bytes); }
  void subtract(std::uint64_t bytes) { now -= bytes; }
  void reset() { high = now; }
};

struct PoolBlock {
  std::uintptr_t address = 0;   // 0: out of memory
  std::optional<Ticket> after;  // what the allocating stream has to wait for before it may use the block
};

// All members need Space::mutex.
class Pool {
 public:
  Pool(Device& device, const CUmemPoolProps& properties) : device_(device), properties_(properties) {}

  PoolBlock allocate(std::size_t bytes, const Stream& stream);
  // `freed`: where the stream has got to when the block may be used again; none: it may be now.
  void put_back(std::uintptr_t address, std::size_t bytes, std::optional<Ticket> freed);
  // Gives back what is unused, down to so many reserved bytes.
  void trim(std::uint64_t keep_bytes);
  void trim_at_synchronisation();
  // No new allocations; its memory goes when the last block has been freed.
  void close();

  Device& device() const { return device_; }
  const CUmemPoolProps& properties() const { return properties_; }
  bool closed() const { return closed_; }
  // What stands for the pool in other processes: a share without memory. Null: it is not shared.
  const Physical* shared() const { return shared_.get(); }
  bool share();
  bool imported() const { return imported_; }
  void import(std::shared_ptr<Physical> shared);
  Watermark reserved, used;
  std::uint64_t release_threshold = 0;
  int follow_event_dependencies = 1;  // kept for its answer: a dependency the stream has already needs no new one
  int allow_opportunistic = 1;
  int allow_internal_dependencies = 1;

 private:
  struct Hole {
    std::size_t bytes;
    std::optional<Ticket> freed;  // none: everybody may use it
  };
  struct Chunk {
    std::size_t bytes;
    std::map<std::uintptr_t, Hole> holes;
  };
  struct Place {
    Chunk* chunk;
    std::uintptr_t address;
  };
  template <class Usable>
  std::optional<Place> best_hole(std::size_t bytes, Usable&& usable);
  bool grow(std::size_t bytes);
  std::uintptr_t cut(const Place& place, std::size_t bytes);
  void settle();

  Device& device_;
  const CUmemPoolProps properties_;
  std::map<std::uintptr_t, Chunk> chunks_;
  std::shared_ptr<Physical> shared_;
  bool closed_ = false, imported_ = false;
};

// The pools of a device. Both need Space::mutex; the program's handle is checked with registry<Pool>().
Pool& default_pool(Device& device);
Pool*& current_pool(Device& device);
std::shared_ptr<Pool> make_pool(Device& device, const CUmemPoolProps& properties);

// Needs Space::mutex: everything that pools and graphs hold on a device and do not use goes back to the card.
void give_back_idle(Device& device);
// Called when the program has waited for its work.
void trim_pools_at_synchronisation();

}  // namespace lull::sim
