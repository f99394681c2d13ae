#include "shim/mappings.h"

#include "shim/make.h"
#include "shim/process.h"
#include "shim/vmm.h"

namespace lull::mappings {
namespace {

struct Reservation {
  Range whole;
  Range range() const { return whole; }
};

RangeTree<Reservation> reservations;
RangeTree<Physical> physicals;
RangeTree<Mapping> mapped;
Vector<Physical*> deferred;
std::uint64_t last_id = 0;

bool mapped_by_driver(const ledger::Chunk& chunk) { return chunk.where != ledger::Where::absent; }

void give_back(const Locked& locked, Physical* physical) {
  const unsigned slot = physical->region->slot;
  physicals.remove(physical);
  physical->region->properties = nullptr;  // the mover may keep the region for a moment
  ledger::retire(locked, physical->region);
  destroy(physical);
  ledger::changed(locked, slot);
}

// Without references and mappings it goes; in a capture later, because giving it back would break the capture.
void give_back_unused(const Locked& locked, Physical* physical) {
  if (physical->references || physical->mappings) return;
  if (process::captures_open() > 0 && deferred.push(physical)) return;
  give_back(locked, physical);
}

Mapping* record(Range range, Physical* physical) {
  Mapping* mapping = make<Mapping>();
  if (!mapping) return nullptr;
  mapping->at = range.at;
  mapping->bytes = range.bytes;
  mapping->physical = physical;
  if (mapped.add(mapping)) return mapping;
  destroy(mapping);
  return nullptr;
}

void forget(const Locked& locked, Mapping* mapping) {
  mapped.remove(mapping);
  mapping->access.release();
  if (Physical* physical = mapping->physical) {
    physical->region->mappings.remove(mapping);
    --physical->mappings;
    give_back_unused(locked, physical);
  }
  destroy(mapping);
}

// Calls `piece` for every part of the mapping that the driver knows, until one fails.
template <class Piece>
CUresult each_present_piece(const Mapping& mapping, Piece piece) {
  if (!mapping.physical) return piece(mapping.range());
  for (const ledger::Chunk* chunk : mapping.physical->region->chunks) {
    const auto part = mapped_by_driver(*chunk) ? vmm::piece_of(mapping, *chunk) : std::nullopt;
    if (!part) continue;
    if (const CUresult result = piece(*part); result != CUDA_SUCCESS) return result;
  }
  return CUDA_SUCCESS;
}

// The same for every mapping of a range; for all of it at once where nothing is absent.
template <class Piece>
CUresult each_present(const Locked& locked, Range range, Piece piece) {
  if (all_present(locked, range)) return piece(range);
  for (CUdeviceptr here = range.at; here < range.at + range.bytes; here += mapped.at(here)->bytes)
    if (const CUresult result = each_present_piece(*mapped.at(here), piece); result != CUDA_SUCCESS) return result;
  return CUDA_SUCCESS;
}

bool same_place(const CUmemLocation& a, const CUmemLocation& b) { return a.type == b.type && a.id == b.id; }

// False: the host is out of memory.
bool note_access(Mapping& mapping, const CUmemAccessDesc& wanted) {
  for (CUmemAccessDesc& known : mapping.access)
    if (same_place(known.location, wanted.location)) {
      known.flags = wanted.flags;
      return true;
    }
  return mapping.access.push(wanted);
}

bool same_access(const Mapping& a, const Mapping& b) {
  if (a.access.size() != b.access.size()) return false;
  for (const CUmemAccessDesc& one : a.access) {
    bool found = false;
    for (const CUmemAccessDesc& other : b.access)
      found |= same_place(one.location, other.location) && one.flags == other.flags;
    if (!found) return false;
  }
  return true;
}

}  // namespace

void note_reserved(const Locked&, Range range) {
  Reservation* reservation = make<Reservation>();
  if (!reservation) return;  // then nothing managed can be mapped there
  while (Reservation* stale = reservations.overlapping(range)) {
    reservations.remove(stale);
    destroy(stale);
  }
  reservation->whole = range;
  if (!reservations.add(reservation)) destroy(reservation);
}

void note_unreserved(const Locked&, CUdeviceptr at) {
  Reservation* reservation = reservations.at(at);
  if (!reservation) return;
  reservations.remove(reservation);
  destroy(reservation);
}

bool any_in(const Locked&, Range range) { return mapped.overlapping(range) != nullptr; }

std::optional<Range> reservation_at(const Locked&, CUdeviceptr at) {
  const Reservation* reservation = reservations.at(at);
  return reservation ? std::optional(reservation->whole) : std::nullopt;
}

CUresult create(const Locked& locked, unsigned slot, std::uint64_t bytes, const CUmemAllocationProp& properties,
                Physical** made) {
  Physical* physical = make<Physical>();
  if (!physical) return CUDA_ERROR_OUT_OF_MEMORY;
  physical->properties = properties;
  physical->references = 1;
  physical->id = ++last_id;
  if (!physicals.add(physical)) {
    destroy(physical);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const CUresult result = ledger::make_region(locked, slot, bytes, &physical->properties, &physical->region);
  ledger::changed(locked, slot);
  if (result != CUDA_SUCCESS) {
    physicals.remove(physical);
    destroy(physical);
    return result;
  }
  *made = physical;
  return CUDA_SUCCESS;
}

Physical* find(const Locked&, CUmemGenericAllocationHandle handle) {
  Physical* physical = physicals.at(handle);
  return physical && physical->references ? physical : nullptr;
}

void release(const Locked& locked, Physical* physical) {
  --physical->references;
  give_back_unused(locked, physical);
}

void release_deferred(const Locked& locked) {
  while (!deferred.empty() && process::captures_open() == 0) {
    Physical* physical = deferred.back();
    deferred.erase(deferred.size() - 1);
    give_back(locked, physical);
  }
}

Mapping* at(const Locked&, CUdeviceptr inside) { return mapped.at(inside); }

CUresult map(const Locked& locked, Physical* physical, Range range) {
  const auto reserved = reservation_at(locked, range.at);
  if (!reserved || range.bytes > reserved->bytes - (range.at - reserved->at)) return CUDA_ERROR_INVALID_VALUE;
  if (range.bytes > physical->region->bytes || any_in(locked, range)) return CUDA_ERROR_INVALID_VALUE;
  Mapping* mapping = record(range, physical);
  if (!mapping) return CUDA_ERROR_OUT_OF_MEMORY;
  ++physical->mappings;
  CUresult result = physical->region->mappings.push(mapping) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
  std::size_t done = 0;
  for (; result == CUDA_SUCCESS && done < physical->region->chunks.size(); ++done)
    if (const ledger::Chunk& chunk = *physical->region->chunks[done]; mapped_by_driver(chunk))
      result = vmm::map_piece(*mapping, chunk);
  if (result == CUDA_SUCCESS) return result;
  while (done-- > 1) {  // the last one has failed
    const ledger::Chunk& chunk = *physical->region->chunks[done - 1];
    const auto piece = mapped_by_driver(chunk) ? vmm::piece_of(*mapping, chunk) : std::nullopt;
    if (piece) (void)real::cuMemUnmap(piece->at, piece->bytes);
  }
  forget(locked, mapping);
  return result;
}

void note_native(const Locked&, Range range) { (void)record(range, nullptr); }

bool whole(const Locked&, Range range) {
  CUdeviceptr here = range.at;
  while (here < range.at + range.bytes) {
    const Mapping* mapping = mapped.at(here);
    if (!mapping || mapping->at != here) return false;
    here += mapping->bytes;
  }
  return here == range.at + range.bytes;
}

CUresult unmap(const Locked& locked, Range range) {
  const CUresult result =
      each_present(locked, range, [](Range piece) { return real::cuMemUnmap(piece.at, piece.bytes); });
  if (result != CUDA_SUCCESS) return result;
  for (CUdeviceptr here = range.at; here < range.at + range.bytes;) {
    Mapping* mapping = mapped.at(here);
    here += mapping->bytes;
    forget(locked, mapping);
  }
  return CUDA_SUCCESS;
}

CUresult set_access(const Locked& locked, Range range, const CUmemAccessDesc* access, std::size_t count) {
  const CUresult result = each_present(
      locked, range, [&](Range piece) { return real::cuMemSetAccess(piece.at, piece.bytes, access, count); });
  if (result != CUDA_SUCCESS) return result;
  for (CUdeviceptr here = range.at; here < range.at + range.bytes; here += mapped.at(here)->bytes)
    for (std::size_t i = 0; i < count; ++i)
      if (!note_access(*mapped.at(here), access[i])) return CUDA_ERROR_OUT_OF_MEMORY;
  return CUDA_SUCCESS;
}

bool all_present(const Locked&, Range range) {
  for (CUdeviceptr here = range.at; here < range.at + range.bytes; here += mapped.at(here)->bytes)
    if (const Physical* physical = mapped.at(here)->physical)
      for (const ledger::Chunk* chunk : physical->region->chunks)
        if (!mapped_by_driver(*chunk)) return false;
  return true;
}

bool alike(const Locked&, Range range) {
  const Mapping* first = mapped.at(range.at);
  for (CUdeviceptr here = range.at; here < range.at + range.bytes;) {
    const Mapping* mapping = mapped.at(here);
    if (!mapping || !same_access(*first, *mapping)) return false;
    here = mapping->at + mapping->bytes;
  }
  return true;
}

}  // namespace lull::mappings
