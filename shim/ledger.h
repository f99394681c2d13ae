// shim/ledger.h: what this process holds on the device, and where each piece of it is.
//
//   region    a reservation of addresses with its chunks; large allocations have one of their own, others share
//             (allocations.h); what the program made by cuMemCreate has one, too, at addresses only the shim knows
//   mapping   where the program has such memory mapped (mappings.h); a chunk is mapped there as well as in its region
//   chunk     one physical handle, the unit of eviction
//
//   chunk:  present ──evict──▶ leaving ──copied, unmapped──▶ absent ──restore──▶ coming ──copied──▶ present
//
// A copy outlives the restore: if the content is the same at the next eviction, nothing has to be copied (residency.h).
//
// `needed` is the sum of all chunks, `resident` of those that are not absent; pinned memory, which can never move
// again, and what cannot by its kind (native.h) count apart. The hold of the gate is set exactly while a chunk is
// absent or coming, or the mover is taking chunks away. All functions take the ledger's lock themselves unless they ask
// for a Locked.
#pragma once
#include <cstdint>

#include "shim/extents.h"
#include "shim/hasher.h"
#include "shim/lock.h"
#include "shim/real.h"

namespace lull {
struct Mapping;
}

namespace lull::ledger {

enum class Where : std::uint8_t { present, leaving, absent, coming };

enum class Copy : std::uint8_t {
  none,   // or one that must not be used
  host,   // in `host`
  zeros,  // the content is all zero; no place is needed
};

struct Region;

struct Chunk {
  Region* region;
  CUdeviceptr base;
  std::uint64_t bytes;
  CUmemGenericAllocationHandle handle;
  Where where;
  bool doomed;  // freed by the program while the mover works on it; the mover drops it
  Copy copy;    // what there is of its content outside the device, as of the last eviction
  bool hashed;  // `hash` is that of the copy
  bool steady;  // at its last eviction it was found to be what it was at the one before
  Hash hash;
  std::uint32_t changed_in;  // number of the eviction that found the copy out of date (residency)
  std::uint32_t came_in;     // number of the hold during which it came back
  std::byte* host;           // place in the backing, kept after the restore; null: none
};

struct Region {
  unsigned slot;
  CUdeviceptr base;
  std::uint64_t bytes;
  bool shared;                // blocks of several allocations; `free_blocks` says what is unused
  std::uint64_t block_limit;  // shared: largest block it takes
  bool pinned;                // out of the mover's reach for good: its physical identity has left the process
  bool managed;               // cuMemAllocManaged's: always mapped, moved by prefetches (managed.h)
  Extents free_blocks;
  Vector<Chunk*> chunks;
  const CUmemAllocationProp* properties;  // as the program wants them; null: as cuMemAlloc's memory
  Vector<Mapping*> mappings;              // of the program, beside the region's own addresses
};

Mutex& mutex();

struct Sizes {
  std::uint64_t needed = 0, resident = 0, pinned = 0, evicted_bytes = 0, restored_bytes = 0, unchanged_bytes = 0;
  std::uint64_t native = 0;  // what cannot move by its kind (native.h), when it was last counted
};
Sizes sizes(unsigned slot);
void count_native(unsigned slot);  // asks the driver, if the program has used any

// `properties`: of memory that the program makes by cuMemCreate; must live as long as the region. Null: as
// cuMemAlloc's. CUDA_ERROR_OUT_OF_MEMORY: more than the process was promised, or (unmanaged) than the card has.
CUresult make_region(const Locked&, unsigned slot, std::uint64_t bytes, const CUmemAllocationProp* properties,
                     Region** made);
// The same of memory that the driver has made and keeps at these addresses (managed.h).
CUresult adopt_region(const Locked&, unsigned slot, CUdeviceptr base, std::uint64_t bytes, Region** made);
void retire(const Locked&, Region*);
// Takes the region out of the mover's reach. False: it is not all there. The caller is inside the gate.
bool pin(const Locked&, Region*);
void changed(const Locked&, unsigned slot);          // publishes the sizes and sets the hold as they demand
bool anything_absent(const Locked&, unsigned slot);  // or on its way back

// For the mover.
Vector<Chunk*>& chunks(const Locked&, unsigned slot);
std::uint64_t version(const Locked&, unsigned slot);  // another one whenever chunks have come or gone; never 0
void note_moved(const Locked&, Chunk&, Where to);     // changes the state, the sums, the hold, and publishes
void drop(const Locked&, Chunk&);                     // gives a doomed chunk's memory back
bool is_doomed(const Chunk&);                         // of one that the mover works on
std::uint64_t resident(const Locked&, unsigned slot);
std::uint64_t staying(const Locked&, unsigned slot);  // resident when everything on its way out has left
// Whether it is for certain as its copy is: nobody has been let in since it came back.
bool untouched(const Locked&, const Chunk&);
void note_copied(const Locked&, unsigned slot, std::uint64_t out, std::uint64_t in);
void forget_copies(const Locked&, const std::byte* from, std::uint64_t bytes);  // there, of chunks that are present
void note_unchanged(const Locked&, unsigned slot, std::uint64_t bytes);         // left without being copied
bool give_up_a_copy(const Locked&,
                    unsigned slot);  // of a chunk that is present: its place is free. False: none has one
void set_moving(bool moving);        // holds the gate while the mover takes memory away
void publish_quota_seen(unsigned slot, std::uint64_t quota_plus_1);
void publish_all();  // everything, into a new page

inline constexpr std::uint64_t granule = 2ull << 20;
std::uint64_t chunk_bytes(unsigned slot);

}  // namespace lull::ledger
