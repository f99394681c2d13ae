// shim/mappings.h: the program's own virtual memory (cuMemAddressReserve, cuMemCreate, cuMemMap ...), by virtual
// handles.
//
//   reservation   addresses the program has reserved; the driver's own, only noted here
//   physical      what cuMemCreate made. The handle that the program holds names this record, for good; the driver's
//                 handles behind it change with every restore. Its memory is a region of the ledger, mapped at
//                 addresses only the shim knows, where the mover copies: what the program maps, unmaps, protects or
//                 never maps at all is no matter to it
//   mapping       where the program has mapped a physical (or memory of the driver's own: imported, host memory)
//
// While memory is absent the driver knows nothing of its mappings, so every rule of cuda.h is checked here, in both
// states alike, and the mappings are made anew when it comes back. All of it under the ledger's lock.
#pragma once
#include <optional>

#include "shim/ledger.h"
#include "shim/range_tree.h"
#include "shim/real.h"

namespace lull {

struct Physical {
  ledger::Region* region;
  CUmemAllocationProp properties;
  unsigned references;  // of the handle; the memory goes with the last one and the last mapping
  unsigned mappings;
  std::uint64_t id;  // never reused
  CUmemGenericAllocationHandle handle() const { return reinterpret_cast<CUmemGenericAllocationHandle>(this); }
  Range range() const { return {handle(), 1}; }
};

struct Mapping {
  CUdeviceptr at;
  std::uint64_t bytes;
  Physical* physical;  // null: the driver's own memory
  Vector<CUmemAccessDesc> access;
  Range range() const { return {at, bytes}; }
};

namespace mappings {

using ledger::Region;

// Reservations.
void note_reserved(const Locked&, Range);
void note_unreserved(const Locked&, CUdeviceptr at);
bool any_in(const Locked&, Range);  // whether the program has anything mapped there
std::optional<Range> reservation_at(const Locked&, CUdeviceptr);

// Handles. find: null for a handle of the driver's own, which the shim lets pass.
CUresult create(const Locked&, unsigned slot, std::uint64_t bytes, const CUmemAllocationProp&, Physical** made);
Physical* find(const Locked&, CUmemGenericAllocationHandle);
void release(const Locked&, Physical*);  // one reference
void release_deferred(const Locked&);    // what a capture kept from going

// Mappings.
Mapping* at(const Locked&, CUdeviceptr inside);
CUresult map(const Locked&, Physical*, Range);  // of a managed physical
void note_native(const Locked&, Range);         // the driver has mapped memory of its own there
bool whole(const Locked&, Range);  // whether mappings, none of them cut, cover the range; what follows asks for it
CUresult unmap(const Locked&, Range);
CUresult set_access(const Locked&, Range, const CUmemAccessDesc*, std::size_t);
bool all_present(const Locked&, Range);  // the driver knows all of it
bool alike(const Locked&, Range);        // mapped from end to end, all of it open to the same devices

}  // namespace mappings
}  // namespace lull
