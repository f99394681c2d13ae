// The address space of the devices in this process.
//
// A reservation is a mapping without access; a physical allocation is granules of the card's file; mapping puts those
// granules at the reserved address, still without access; SetAccess gives it. Device addresses are host addresses, so
// a kernel or copy that touches what is not mapped faults in its thread, which becomes error 700 (guard.h).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "tests/driver/context/context.h"

namespace lull::sim {

// Physical memory. It returns to the card when neither a handle nor a mapping refers to it.
struct Physical : std::enable_shared_from_this<Physical> {
  Device& device;
  std::size_t bytes;
  std::vector<Extent> extents;
  CUmemGenericAllocationHandle handle = 0;
  unsigned references = 0;  // of the handle
  CUmemAllocationProp properties{};
  std::uint64_t id = 0;          // of no other memory of this process
  std::optional<ShareId> share;  // once other processes may hold it, too

  // Null: the card is full, even without what idle pools could give back. Needs Space::mutex.
  static std::shared_ptr<Physical> take(Device& device, std::size_t bytes);
  Physical(Device& on, std::size_t size) : device(on), bytes(size) {}
  ~Physical();
  Physical(const Physical&) = delete;
  Physical& operator=(const Physical&) = delete;
};

// Whose addresses they are: the program's own, those of cuMemAlloc and its like, or those of a pool (stream-ordered or
// of graphs), where memory stays mapped between a free and the next allocation.
enum class Holds { program, allocations, pool };
struct Reservation {
  std::size_t bytes;
  Holds holds;
  std::uint64_t id = 0;
  bool sync_memops = false;
};

struct Gone {
  std::size_t bytes;
  std::uint64_t order;
};

struct MappedRange {
  std::size_t bytes;
  std::shared_ptr<Physical> physical;
  CUmemAccess_flags access = CU_MEM_ACCESS_FLAGS_PROT_NONE;
};

// ipc and pool_import: of another process, opened here.
enum class AllocationKind { device, managed, pool, graph, code, array, ipc, pool_import };
class Pool;

// What cuMemAlloc and its like returned.
struct Allocation {
  std::size_t bytes;
  AllocationKind kind;
  Context* context;  // owner; compared only
  Device* device;
  std::uintptr_t slab = 0;  // base of the slab or imported memory it lies in; 0: its own reservation
  std::uint64_t id = 0;     // never that of another allocation
  Pool* pool = nullptr;     // of kind pool
  bool sync_memops = false;
};

enum class HostKind { allocated, registered };
inline constexpr std::size_t host_page_bytes = 4096;
inline std::size_t whole_pages(std::size_t bytes) {
  return (bytes + host_page_bytes - 1) / host_page_bytes * host_page_bytes;
}
struct HostRange {
  std::size_t bytes;
  HostKind kind;
  unsigned flags;
  Context* context;
  std::uint64_t id = 0;
};

class Space {
 public:
  std::mutex mutex;  // guards all members; never held while memory is copied
  std::map<std::uintptr_t, Reservation> reservations;
  std::map<std::uintptr_t, MappedRange> mapped;
  std::map<std::uintptr_t, Allocation> allocations;
  std::map<std::uintptr_t, HostRange> host;
  std::map<CUmemGenericAllocationHandle, std::shared_ptr<Physical>> handles;

  // All need the mutex.
  std::uintptr_t reserve(std::size_t bytes, std::size_t alignment, std::uintptr_t hint, Holds holds);  // 0: refused
  void unreserve(std::uintptr_t base);
  std::uintptr_t reserve_with_memory(Device& device, std::size_t bytes, Holds holds);  // whole granules; 0: no memory
  bool map(std::uintptr_t base, std::size_t bytes, std::shared_ptr<Physical> physical);
  void unmap(std::uintptr_t base);                      // one whole mapping
  void let_go(std::uintptr_t base, std::size_t bytes);  // what of the gone ranges overlaps these addresses
  bool set_access(std::uintptr_t base, CUmemAccess_flags access);
  // The memory's handle, with one more reference: the same value for as long as the memory exists.
  CUmemGenericAllocationHandle handle_of(const std::shared_ptr<Physical>& physical);
  // The mappings that exactly cover a range, none cut; empty if they do not.
  std::vector<std::uintptr_t> whole_mappings(std::uintptr_t base, std::size_t bytes) const;
  // Addresses that were given back and are kept from others for a while, so that touching them is a fault and does not
  // meet what the host put there since. The oldest go first, and any that a program reserves by name.
  std::map<std::uintptr_t, Gone> gone;
  // The entry of a map of ranges that contains an address; end() if none does.
  template <class Map>
  static auto containing(Map& ranges, std::uintptr_t address) {
    auto next = ranges.upper_bound(address);
    if (next == ranges.begin()) return ranges.end();
    --next;
    return address - next->first < next->second.bytes ? next : ranges.end();
  }
};
Space& space();

// What a copy or memset is asked to touch.
enum class Touch {
  device,      // all of it is mapped, with access
  illegal,     // in a reservation, and not: error 700
  overrun,     // memory of cuMemAlloc, not inside one allocation
  idle,        // memory a pool holds, not inside one allocation: refused at a call, no fault for work on its way
  known_host,  // page-locked memory of ours
  unknown,     // anything else: the host's business
};
Touch classify(std::uintptr_t address, std::size_t bytes, CUmemAccess_flags needed);

// Memory that comes with its address, zero-initialised never. 0: out of memory.
std::uintptr_t allocate(Context& context, std::size_t bytes, AllocationKind kind);
std::uint64_t next_allocation_id();  // needs the mutex
// Memory operations of the synchronous kind on it are to be over when they return (CU_POINTER_ATTRIBUTE_SYNC_MEMOPS).
bool sync_memops(std::uintptr_t address);
// Native memory: what has a size and no address. False: the card is full, even without what idle pools hold.
bool charge_native(Device& device, std::size_t bytes);
// False: no such allocation of that base address, or one that goes in another way.
bool release(std::uintptr_t base);
// For who is slow: does nothing once the context has ended, whose memory goes with it and may be somebody else's now.
void release(std::uintptr_t base, const Life& life);
bool close_ipc(std::uintptr_t base);
// What goes with a context: its allocations, page-locked memory and registrations; not what cuMemCreate made.
void free_memory_of(Context& context);

}  // namespace lull::sim
