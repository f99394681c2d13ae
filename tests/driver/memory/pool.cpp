#include "tests/driver/memory/pool.h"

#include <algorithm>
#include <atomic>

#include "tests/driver/memory/graph_memory.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/registry.h"

namespace lull::sim {
namespace {

constexpr std::size_t block_bytes = 512;
constexpr std::size_t largest_request = SIZE_MAX / 2;

std::size_t rounded(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

bool reached(const Ticket& ticket) { return ticket.stream->wait_until(ticket.number, 0); }

// Also those that were destroyed while blocks of theirs were in use.
std::vector<std::shared_ptr<Pool>>& pools() {
  static auto& all = *new std::vector<std::shared_ptr<Pool>>;
  return all;
}

// Read before the mutex is taken: most programs have no pool, and they synchronise often.
std::atomic<bool> any_pool{false};

struct OfDevice {
  std::shared_ptr<Pool> usual;
  Pool* current = nullptr;
};
OfDevice& of_device(Device& device) {
  static auto& all = *new std::map<const Device*, OfDevice>;
  OfDevice& found = all[&device];
  if (!found.usual) {
    CUmemPoolProps properties{};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device.ordinal};
    found.usual = make_pool(device, properties);
    found.current = found.usual.get();
  }
  return found;
}

}  // namespace

std::shared_ptr<Pool> make_pool(Device& device, const CUmemPoolProps& properties) {
  auto pool = std::make_shared<Pool>(device, properties);
  registry<Pool>().add(pool);
  pools().push_back(pool);
  any_pool.store(true, std::memory_order_relaxed);
  return pool;
}

Pool& default_pool(Device& device) { return *of_device(device).usual; }
Pool*& current_pool(Device& device) { return of_device(device).current; }

template <class Usable>
std::optional<Pool::Place> Pool::best_hole(std::size_t bytes, Usable&& usable) {
  std::optional<Place> best;
  std::size_t best_bytes = SIZE_MAX;
  for (auto& [base, chunk] : chunks_) {
    for (const auto& [address, hole] : chunk.holes) {
      if (hole.bytes < bytes || hole.bytes >= best_bytes || !usable(hole)) continue;
      best = Place{&chunk, address};
      best_bytes = hole.bytes;
    }
  }
  return best;
}

std::uintptr_t Pool::cut(const Place& place, std::size_t bytes) {
  const auto found = place.chunk->holes.find(place.address);
  const Hole hole = std::move(found->second);
  place.chunk->holes.erase(found);
  if (hole.bytes > bytes) place.chunk->holes[place.address + bytes] = {hole.bytes - bytes, hole.freed};
  used.add(bytes);
  return place.address;
}

bool Pool::grow(std::size_t bytes) {
  const std::size_t whole = rounded(bytes, granule_bytes);
  if (properties_.maxSize && reserved.now + whole > properties_.maxSize) return false;
  const std::uintptr_t base = space().reserve_with_memory(device_, whole, Holds::pool);
  if (!base) return false;
  space().mapped.at(base).physical->properties.requestedHandleTypes = properties_.handleTypes;
  chunks_[base] = {whole, {{base, {whole, {}}}}};
  reserved.add(whole);
  return true;
}

PoolBlock Pool::allocate(std::size_t bytes, const Stream& stream) {
  if (bytes > largest_request || closed_ || imported_) return {};
  const std::size_t wanted = rounded(bytes, block_bytes);
  const auto ready = [&](const Hole& hole) {
    return !hole.freed || hole.freed->stream.get() == &stream || (allow_opportunistic && reached(*hole.freed));
  };
  auto place = best_hole(wanted, ready);
  if (!place && grow(wanted)) place = best_hole(wanted, ready);
  if (place) return {cut(*place, wanted), {}};
  if (allow_internal_dependencies) place = best_hole(wanted, [](const Hole&) { return true; });
  if (!place) return {};
  const auto after = place->chunk->holes.at(place->address).freed;
  return {cut(*place, wanted), after};
}

void Pool::put_back(std::uintptr_t address, std::size_t bytes, std::optional<Ticket> freed) {
  const std::size_t whole = rounded(bytes, block_bytes);
  Chunk& chunk = std::prev(chunks_.upper_bound(address))->second;
  chunk.holes[address] = {whole, std::move(freed)};
  used.subtract(whole);
  settle();
  if (closed_) trim(0);
}

// Holes that their streams have left become everybody's, and one with their neighbours.
void Pool::settle() {
  for (auto& [base, chunk] : chunks_) {
    for (auto it = chunk.holes.begin(); it != chunk.holes.end();) {
      auto& [address, hole] = *it;
      if (hole.freed && allow_opportunistic && reached(*hole.freed)) hole.freed.reset();
      const bool first = it == chunk.holes.begin();
      const auto before = first ? it : std::prev(it);
      const bool joins =
          !first && !hole.freed && !before->second.freed && before->first + before->second.bytes == address;
      if (joins) before->second.bytes += hole.bytes;
      it = joins ? chunk.holes.erase(it) : std::next(it);
    }
  }
}

void Pool::trim(std::uint64_t keep_bytes) {
  settle();
  for (auto it = chunks_.begin(); it != chunks_.end();) {
    const auto& [base, chunk] = *it;
    const bool unused = chunk.holes.size() == 1 && chunk.holes.begin()->second.bytes == chunk.bytes &&
                        !chunk.holes.begin()->second.freed;
    if (!unused || reserved.now - chunk.bytes < keep_bytes) {
      ++it;
      continue;
    }
    reserved.subtract(chunk.bytes);
    space().unmap(base);
    space().unreserve(base);
    it = chunks_.erase(it);
  }
}

void Pool::trim_at_synchronisation() {
  // What the host has seen to be over is anybody's, opportunistic or not.
  for (auto& [base, chunk] : chunks_) {
    for (auto& [address, hole] : chunk.holes) {
      if (hole.freed && reached(*hole.freed)) hole.freed.reset();
    }
  }
  settle();
  if (closed_ || reserved.now > release_threshold) trim(closed_ ? 0 : release_threshold);
}

bool Pool::share() {
  if (shared_) return true;
  auto made = std::make_shared<Physical>(device_, 0);
  made->properties.requestedHandleTypes = properties_.handleTypes;
  made->properties.location = properties_.location;
  if (!sim::share(*made, SharedAs::pool)) return false;
  shared_ = std::move(made);
  return true;
}

void Pool::import(std::shared_ptr<Physical> shared) {
  shared_ = std::move(shared);
  imported_ = true;
}

void Pool::close() {
  closed_ = true;
  shared_.reset();
  trim(0);
}

void give_back_idle(Device& device) {
  for (const auto& pool : pools()) {
    if (&pool->device() == &device) pool->trim(0);
  }
  trim_graph_memory(device);
}

void trim_pools_at_synchronisation() {
  if (!any_pool.load(std::memory_order_relaxed)) return;
  const std::scoped_lock lock(space().mutex);
  for (const auto& pool : pools()) pool->trim_at_synchronisation();
  std::erase_if(pools(), [](const auto& pool) { return pool->closed() && pool->reserved.now == 0; });
}

}  // namespace lull::sim
