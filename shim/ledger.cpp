#include "shim/ledger.h"

#include <cstdlib>
#include <cstring>

#include "shim/backing.h"
#include "shim/engine.h"
#include "shim/gate.h"
#include "shim/make.h"
#include "shim/managed.h"
#include "shim/mappings.h"
#include "shim/native.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/sizes.h"
#include "shim/vmm.h"

namespace lull::ledger {
namespace {

Mutex the_mutex;
struct Card {
  Vector<Chunk*> chunks;
  std::uint64_t version = 1;  // raised whenever one comes or goes
  Sizes sizes;
  std::uint64_t absent = 0;          // chunks that are absent or coming
  std::uint64_t leaving = 0;         // bytes of chunks that are leaving
  std::uint64_t native_counted = 0;  // changes of native memory when it was last counted
};
Card cards[max_gpus];
bool moving_now = false;
std::uint32_t holds = 0;  // how often the gate has been held, with the present time

void give_up(Region* region) {
  region->free_blocks.release();
  region->chunks.release();
  region->mappings.release();
  std::free(region);
}

void publish_sizes(unsigned slot) {
  UpGpu& up = process::up().gpu[slot];
  const Sizes& s = cards[slot].sizes;
  process::publish(up.evicted_bytes, s.evicted_bytes);
  process::publish(up.restored_bytes, s.restored_bytes);
  process::publish(up.unchanged_bytes, s.unchanged_bytes);
  process::publish(up.resident, s.resident);
  process::publish(up.needed, s.needed);
  // Pools may have given back since it was counted: never more than a broker would believe.
  const std::uint64_t native = s.pinned + s.native + managed::native_bytes(slot), most = sizes::total(slot);
  process::publish(up.native, native < most ? native : most);
}

void follow_hold() {
  bool missing = moving_now;
  for (const Card& card : cards) missing |= card.absent != 0;
  if (!on(Protection::hold)) missing = false;
  if (missing && !gate::holds()) {
    ++holds;
    gate::set(gate::hold);
  }
  if (!missing && gate::holds()) gate::clear(gate::hold);
}

bool may_grow(unsigned slot, std::uint64_t bytes) {
  const auto quota = process::quota(slot);
  return !quota || cards[slot].sizes.resident + bytes <= *quota;
}

void ask_native(unsigned slot) {
  Card& card = cards[slot];
  card.native_counted = native::changes();
  if (card.native_counted > 0) card.sizes.native = native::bytes(slot);
}

bool within_total(unsigned slot, std::uint64_t bytes) {
  const Sizes& s = cards[slot].sizes;
  const std::uint64_t held = s.needed + s.pinned + s.native, total = sizes::total(slot);
  return held <= total && bytes <= total - held;
}

// Whether the process may have `bytes` more at all, now or after others have made room. Native memory is counted only
// when it may have grown, and when what has been given back might decide it.
bool promised(unsigned slot, std::uint64_t bytes) {
  if (native::may_differ(cards[slot].native_counted)) ask_native(slot);
  if (!within_total(slot, bytes)) {
    ask_native(slot);
    if (!within_total(slot, bytes)) return false;
  }
  const std::uint64_t wanted = cards[slot].sizes.needed + bytes;
  const auto admitted = process::admitted(slot);
  if (!admitted || wanted <= *admitted) return true;
  process::publish(process::up().gpu[slot].refused_bytes, bytes);
  process::kick_link();
  return false;
}

void forget_copy(Chunk& chunk) {
  if (chunk.host) backing::give(chunk.host, chunk.bytes);
  chunk.host = nullptr;
  chunk.copy = Copy::none;
  chunk.hashed = false;
}

void forget_chunk(Chunk* chunk) {
  Card& card = cards[chunk->region->slot];
  forget_copy(*chunk);
  if (chunk->region->pinned) {
    card.sizes.pinned -= chunk->bytes;
    return destroy(chunk);
  }
  if (!chunk->doomed) card.sizes.needed -= chunk->bytes;
  if (chunk->where != Where::absent) card.sizes.resident -= chunk->bytes;
  if (chunk->where == Where::absent || chunk->where == Where::coming) --card.absent;
  card.chunks.remove(chunk);
  ++card.version;
  destroy(chunk);
}

void give_back(Region* region) {
  // A range that stays reserved only costs addresses.
  if (!region->managed) (void)real::cuMemAddressFree(region->base, region->bytes);
  give_up(region);
}

// Gives a region back, but for the chunks the mover is working on: it drops those, and the region with the last one.
void retire(Region* region) {
  for (std::size_t i = region->chunks.size(); i-- > 0;) {
    Chunk* chunk = region->chunks[i];
    if (chunk->where == Where::leaving || chunk->where == Where::coming) {
      chunk->doomed = true;  // gone for the program at once; resident until the mover lets go of it
      cards[region->slot].sizes.needed -= chunk->bytes;
      continue;
    }
    vmm::discard(*chunk);
    region->chunks.erase(i);
    forget_chunk(chunk);
  }
  if (region->chunks.empty()) give_back(region);
}

bool add_chunk(Region* region, CUdeviceptr base, std::uint64_t bytes) {
  Card& card = cards[region->slot];
  Chunk* chunk = make<Chunk>();
  if (!chunk || !region->chunks.push(chunk)) {
    if (chunk) destroy(chunk);
    return false;
  }
  chunk->region = region;
  chunk->base = base;
  chunk->bytes = bytes;
  chunk->where = Where::absent;
  if (!card.chunks.push(chunk)) {
    region->chunks.erase(region->chunks.size() - 1);
    destroy(chunk);
    return false;
  }
  ++card.version;
  card.sizes.needed += bytes;
  ++card.absent;
  return true;
}

// The first chunks of a new region, as far as quota and card allow: as many as the driver makes accessible in one call.
CUresult map_next(Region* region, std::size_t first, unsigned& mapped) {
  Chunk* run[vmm::longest_run];
  std::uint64_t bytes = 0;
  mapped = 0;
  while (mapped < vmm::longest_run && first + mapped < region->chunks.size()) {
    Chunk* chunk = region->chunks[first + mapped];
    if (!may_grow(region->slot, bytes + chunk->bytes)) break;
    run[mapped++] = chunk;
    bytes += chunk->bytes;
  }
  if (mapped == 0) return CUDA_SUCCESS;
  if (const CUresult result = vmm::map(run, mapped); result != CUDA_SUCCESS) return result;
  Card& card = cards[region->slot];
  card.sizes.resident += bytes;
  card.absent -= mapped;
  for (unsigned i = 0; i < mapped; ++i) run[i]->where = Where::present;
  return CUDA_SUCCESS;
}

// Managed processes may have it absent; others need it now.
CUresult map_new(Region* region) {
  const bool managed = process::quota(region->slot).has_value();
  unsigned mapped = 0;
  for (std::size_t first = 0; first < region->chunks.size(); first += mapped) {
    const CUresult result = map_next(region, first, mapped);
    if (result != CUDA_SUCCESS) return managed && result == CUDA_ERROR_OUT_OF_MEMORY ? CUDA_SUCCESS : result;
    if (mapped == 0) break;
  }
  return CUDA_SUCCESS;
}

CUresult fill(Region* region, std::uint64_t unit, Region** made) {
  bool whole = true;
  for (std::uint64_t done = 0; done < region->bytes && whole; done += unit)
    whole = add_chunk(region, region->base + done, region->bytes - done < unit ? region->bytes - done : unit);
  const CUresult result = whole ? map_new(region) : CUDA_ERROR_OUT_OF_MEMORY;
  if (result != CUDA_SUCCESS) {
    retire(region);
    return result;
  }
  *made = region;
  return CUDA_SUCCESS;
}

CUresult make_region(unsigned slot, std::uint64_t bytes, const CUmemAllocationProp* properties, Region** made) {
  if (!promised(slot, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  Region* region = make<Region>();
  if (!region) return CUDA_ERROR_OUT_OF_MEMORY;
  region->slot = slot;
  region->bytes = bytes;
  region->properties = properties;
  if (const CUresult reserved = real::cuMemAddressReserve(&region->base, bytes, 0, 0, 0); reserved != CUDA_SUCCESS) {
    give_up(region);
    return reserved;
  }
  // What can be exported must be one handle of the driver's, too.
  return fill(region, properties && properties->requestedHandleTypes ? bytes : chunk_bytes(slot), made);
}

}  // namespace

Mutex& mutex() { return the_mutex; }

std::uint64_t chunk_bytes(unsigned slot) { return sizes::chunk(slot); }

CUresult make_region(const Locked&, unsigned slot, std::uint64_t bytes, const CUmemAllocationProp* properties,
                     Region** made) {
  return make_region(slot, bytes, properties, made);
}

CUresult adopt_region(const Locked&, unsigned slot, CUdeviceptr base, std::uint64_t bytes, Region** made) {
  Region* region = promised(slot, bytes) ? make<Region>() : nullptr;
  if (!region) return CUDA_ERROR_OUT_OF_MEMORY;
  region->slot = slot;
  region->base = base;
  region->bytes = bytes;
  region->managed = true;
  return fill(region, chunk_bytes(slot), made);
}

void retire(const Locked&, Region* region) { retire(region); }

bool pin(const Locked&, Region* region) {
  if (region->pinned) return true;
  for (const Chunk* chunk : region->chunks)
    if (chunk->where != Where::present) return false;
  Card& card = cards[region->slot];
  for (Chunk* chunk : region->chunks) {
    card.sizes.needed -= chunk->bytes;
    card.sizes.resident -= chunk->bytes;
    card.sizes.pinned += chunk->bytes;
    card.chunks.remove(chunk);
    forget_copy(*chunk);
  }
  ++card.version;
  region->pinned = true;
  return true;
}

bool anything_absent(const Locked&, unsigned slot) { return cards[slot].absent != 0; }

void changed(const Locked&, unsigned slot) {
  publish_sizes(slot);
  follow_hold();
}

Sizes sizes(unsigned slot) {
  const Locked locked(the_mutex);
  return cards[slot].sizes;
}

void count_native(unsigned slot) {
  if (native::changes() == 0) return;
  const Locked locked(the_mutex);
  ask_native(slot);
  publish_sizes(slot);
}

std::uint64_t version(const Locked&, unsigned slot) { return cards[slot].version; }

Vector<Chunk*>& chunks(const Locked&, unsigned slot) { return cards[slot].chunks; }

void note_moved(const Locked&, Chunk& chunk, Where to) {
  const unsigned slot = chunk.region->slot;
  Card& card = cards[slot];
  const auto missing = [](Where w) { return w == Where::absent || w == Where::coming; };
  if (missing(to) && !missing(chunk.where)) ++card.absent;
  if (!missing(to) && missing(chunk.where)) --card.absent;
  if (to == Where::absent && chunk.where != Where::absent) card.sizes.resident -= chunk.bytes;
  if (to != Where::absent && chunk.where == Where::absent) card.sizes.resident += chunk.bytes;
  if (to == Where::leaving && chunk.where != Where::leaving) card.leaving += chunk.bytes;
  if (to != Where::leaving && chunk.where == Where::leaving) card.leaving -= chunk.bytes;
  if (to == Where::present && chunk.where == Where::coming) chunk.came_in = holds;
  chunk.where = to;
  publish_sizes(slot);
  follow_hold();
}

bool untouched(const Locked&, const Chunk& chunk) {
  return gate::holds() && chunk.came_in == holds && chunk.copy != Copy::none && !chunk.region->managed;
}

void drop(const Locked& locked, Chunk& chunk) {
  Region* region = chunk.region;
  const unsigned slot = region->slot;
  if (chunk.where != Where::absent) {
    vmm::discard(chunk);
    note_moved(locked, chunk, Where::absent);
  }
  region->chunks.remove(&chunk);
  forget_chunk(&chunk);
  if (region->chunks.empty()) give_back(region);
  publish_sizes(slot);
  follow_hold();
}

bool is_doomed(const Chunk& chunk) {
  const Locked locked(the_mutex);
  return chunk.doomed;
}

std::uint64_t resident(const Locked&, unsigned slot) { return cards[slot].sizes.resident; }

std::uint64_t staying(const Locked&, unsigned slot) { return cards[slot].sizes.resident - cards[slot].leaving; }

void note_unchanged(const Locked&, unsigned slot, std::uint64_t bytes) {
  cards[slot].sizes.unchanged_bytes += bytes;
  publish_sizes(slot);
}

void note_copied(const Locked&, unsigned slot, std::uint64_t out, std::uint64_t in) {
  cards[slot].sizes.evicted_bytes += out;
  cards[slot].sizes.restored_bytes += in;
  publish_sizes(slot);
}

void forget_copies(const Locked&, const std::byte* from, std::uint64_t bytes) {
  for (Card& card : cards)
    for (Chunk* chunk : card.chunks)
      if (chunk->where == Where::present && chunk->host >= from && chunk->host < from + bytes) forget_copy(*chunk);
}

bool give_up_a_copy(const Locked&, unsigned slot) {
  Chunk* found = nullptr;
  for (Chunk* chunk : cards[slot].chunks)
    if (chunk->where == Where::present && chunk->host && (!found || !chunk->hashed)) found = chunk;
  if (!found) return false;
  forget_copy(*found);
  return true;
}

void set_moving(bool moving) {
  const Locked locked(the_mutex);
  moving_now = moving;
  follow_hold();
}

// Under the lock that every growth takes: after this store nothing grows beyond that quota.
void publish_quota_seen(unsigned slot, std::uint64_t quota_plus_1) {
  const Locked locked(the_mutex);
  process::publish(process::up().gpu[slot].seen_quota_plus_1, quota_plus_1);
}

void publish_all() {
  const Locked locked(the_mutex);
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    if (process::attached(slot)) publish_sizes(slot);
}

}  // namespace lull::ledger
