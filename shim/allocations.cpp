#include "shim/allocations.h"

#include "shim/ledger.h"
#include "shim/make.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/sizes.h"

namespace lull::allocations {
namespace {

using ledger::granule;
using ledger::Region;

RangeTree<Allocation> allocations;
std::uint64_t last_id = 0;
Vector<Region*> shared[max_gpus];

constexpr std::uint64_t small_limit = 1ull << 20;  // smaller blocks share chunks with their like
constexpr std::uint64_t medium_limit = 64ull << 20;
constexpr std::uint64_t small_alignment = 512, medium_alignment = 64 << 10;

std::uint64_t round_up(std::uint64_t bytes, std::uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

Allocation* record(CUdeviceptr base, std::uint64_t bytes, std::uint64_t span, Region* region, CUcontext context) {
  Allocation* allocation = make<Allocation>();
  if (!allocation) return nullptr;
  *allocation = {base, bytes, span, region, context, ++last_id, false};
  if (allocations.add(allocation)) return allocation;
  destroy(allocation);
  return nullptr;
}

CUresult allocate_large(const Locked& locked, unsigned slot, CUcontext context, std::uint64_t bytes,
                        CUdeviceptr* base) {
  Region* region = nullptr;
  if (const CUresult made = ledger::make_region(locked, slot, round_up(bytes, granule), nullptr, &region);
      made != CUDA_SUCCESS)
    return made;
  if (!record(region->base, bytes, region->bytes, region, context)) {
    ledger::retire(locked, region);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *base = region->base;
  return CUDA_SUCCESS;
}

CUresult allocate_block(const Locked& locked, unsigned slot, CUcontext context, std::uint64_t bytes,
                        CUdeviceptr* base) {
  const bool small = bytes <= small_limit;
  const std::uint64_t limit = small ? small_limit : medium_limit;
  const std::uint64_t alignment = small ? small_alignment : medium_alignment;
  const std::uint64_t span = round_up(bytes, alignment);
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (Region* region : shared[slot]) {
      if (region->block_limit != limit) continue;
      const auto offset = region->free_blocks.take(span, alignment);
      if (!offset) continue;
      if (!record(region->base + *offset, bytes, span, region, context)) {
        region->free_blocks.give(*offset, span);
        return CUDA_ERROR_OUT_OF_MEMORY;
      }
      *base = region->base + *offset;
      return CUDA_SUCCESS;
    }
    Region* region = nullptr;
    const std::uint64_t room =
        ledger::chunk_bytes(slot) < (32ull << 20) || !small ? ledger::chunk_bytes(slot) : 32ull << 20;
    if (const CUresult made = ledger::make_region(locked, slot, room, nullptr, &region); made != CUDA_SUCCESS)
      return made;
    region->shared = true;
    region->block_limit = limit;
    if (!region->free_blocks.add(0, region->bytes) || !shared[slot].push(region)) {
      ledger::retire(locked, region);
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Whether memory has been given back, beyond the block.
bool remove(const Locked& locked, Allocation* allocation) {
  allocations.remove(allocation);
  Region* region = allocation->region;
  const unsigned slot = region->slot;
  if (region->shared) region->free_blocks.give(allocation->base - region->base, allocation->span);
  destroy(allocation);
  if (region->shared && region->free_blocks.free_bytes() != region->bytes) return false;
  if (region->shared) shared[slot].remove(region);  // nobody's any more
  ledger::retire(locked, region);
  ledger::changed(locked, slot);
  return true;
}

const Allocation* known_at(CUdeviceptr inside) {
  const Allocation* allocation = allocations.at(inside);
  const bool known = allocation && !allocation->taken && inside < allocation->base + allocation->bytes;
  return known ? allocation : nullptr;
}

// Of the program: null, if it has freed it.
Allocation* known_by(CUdeviceptr base) {
  Allocation* allocation = allocations.at(base);
  return allocation && allocation->base == base && !allocation->taken ? allocation : nullptr;
}

void made_room() {
  process::kick_link();
  process::nudge_mover();  // what was evicted may fit now
}

struct ContextSearch {
  CUcontext context;
  Allocation* found;
};
__thread ContextSearch* search = nullptr;  // twalk passes no argument on glibc 2.28

void visit(const void* node, VISIT order, int) {
  if (order != preorder && order != leaf) return;
  Allocation* allocation = *static_cast<Allocation* const*>(node);
  if (!search->found && allocation->context == search->context) search->found = allocation;
}

}  // namespace

CUresult allocate(unsigned slot, CUcontext context, std::uint64_t bytes, CUdeviceptr* base) {
  CUresult result;
  bool missing;
  {
    const Locked locked(ledger::mutex());
    if (bytes > sizes::total(slot)) return CUDA_ERROR_OUT_OF_MEMORY;  // and nothing below can overflow
    const bool block = on(Protection::slabs) &&
                       (bytes <= small_limit || (bytes <= medium_limit && bytes <= ledger::chunk_bytes(slot) / 2));
    result =
        block ? allocate_block(locked, slot, context, bytes, base) : allocate_large(locked, slot, context, bytes, base);
    ledger::changed(locked, slot);
    missing = ledger::anything_absent(locked, slot);
  }
  if (missing) process::kick_link();  // needed > resident is demand
  return result;
}

CUresult release(CUdeviceptr base) {
  bool room;
  {
    const Locked locked(ledger::mutex());
    Allocation* allocation = known_by(base);
    if (!allocation) return CUDA_ERROR_INVALID_VALUE;
    room = remove(locked, allocation);
  }
  if (room) made_room();
  return CUDA_SUCCESS;
}

Released release_idle(CUdeviceptr base, CUcontext idle) {
  bool room;
  {
    const Locked locked(ledger::mutex());
    Allocation* allocation = known_by(base);
    if (!allocation || allocation->context != idle) return {false, allocation ? allocation->context : nullptr};
    room = remove(locked, allocation);
  }
  if (room) made_room();
  return {true, idle};
}

std::optional<std::uint64_t> take(CUdeviceptr base) {
  const Locked locked(ledger::mutex());
  Allocation* allocation = known_by(base);
  if (!allocation) return std::nullopt;
  allocation->taken = true;
  return allocation->id;
}

void give_back(CUdeviceptr base, std::uint64_t id) {
  bool room;
  {
    const Locked locked(ledger::mutex());
    Allocation* allocation = allocations.at(base);
    if (!allocation || allocation->id != id) return;
    room = remove(locked, allocation);
  }
  if (room) made_room();
}

std::optional<Allocation> find(CUdeviceptr inside) { return find(Locked(ledger::mutex(), Locked::to_look), inside); }

std::optional<Allocation> find(const Locked&, CUdeviceptr inside) {
  const Allocation* allocation = known_at(inside);
  return allocation ? std::optional(*allocation) : std::nullopt;
}

Region* region_of(const Locked&, CUdeviceptr inside) {
  const Allocation* allocation = known_at(inside);
  return allocation ? allocation->region : nullptr;
}

void release_context(CUcontext context) {
  if (!on(Protection::context_frees)) return;
  const Locked locked(ledger::mutex());
  for (;;) {
    ContextSearch wanted{context, nullptr};
    search = &wanted;
    allocations.visit(visit);
    search = nullptr;
    if (!wanted.found) break;
    (void)remove(locked, wanted.found);
  }
}

}  // namespace lull::allocations
