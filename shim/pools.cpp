#include "shim/pools.h"

#include "protocol/page.h"
#include "shim/drain.h"
#include "shim/gate.h"
#include "shim/graph_memory.h"
#include "shim/handlers.h"
#include "shim/native.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::pools {
namespace {

struct Known {
  CUmemoryPool pool;
  unsigned slot;
};
Mutex the_mutex;  // while it is held, no pool of the list is destroyed
Vector<Known> known;
std::atomic<bool> used{false};  // else the driver is not even asked for the default pool

CUmemoryPool default_pool(unsigned slot) {
  CUmemoryPool pool = nullptr;
  return real::cuDeviceGetDefaultMemPool(&pool, static_cast<CUdevice>(slot)) == CUDA_SUCCESS ? pool : nullptr;
}

std::uint64_t ask(CUmemoryPool pool, CUmemPool_attribute attribute) {
  cuuint64_t bytes = 0;
  return real::cuMemPoolGetAttribute(pool, attribute, &bytes) == CUDA_SUCCESS ? bytes : 0;
}

void add(Held& sum, CUmemoryPool pool) {
  sum.reserved += ask(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
  sum.used += ask(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
}

bool is_device_memory(const CUmemPoolProps& properties) {
  const CUmemLocation& at = properties.location;
  return properties.allocType == CU_MEM_ALLOCATION_TYPE_PINNED && at.type == CU_MEM_LOCATION_TYPE_DEVICE &&
         at.id >= 0 && at.id < static_cast<int>(max_gpus);
}

// The lock keeps captures from beginning meanwhile. False: one is open.
template <class Work>
bool outside_captures(Work work) {
  const Locked locked(process::lanes_mutex());
  if (process::captures_open() > 0) return false;
  work();
  return true;
}

}  // namespace

Held held(unsigned slot) {
  Held sum;
  if (!used.load(std::memory_order_acquire) || !on(Protection::pool_count)) return sum;
  if (CUmemoryPool pool = default_pool(slot)) add(sum, pool);
  const Locked locked(the_mutex);
  for (const Known& k : known)
    if (k.slot == slot) add(sum, k.pool);
  return sum;
}

bool trim(unsigned slot) {
  if (!on(Protection::pool_trim)) return true;
  const bool seen = outside_captures([slot] {
    drain::see_completed();  // what was freed in stream order counts as outstanding until the host has seen it done
    graph_memory::trim(slot);
    if (!used.load(std::memory_order_acquire)) return;
    if (CUmemoryPool pool = default_pool(slot)) (void)real::cuMemPoolTrimTo(pool, 0);
  });
  if (!seen) return false;
  std::size_t left;
  {
    const Locked locked(the_mutex);
    left = known.size();
  }
  // One at a time, so that whoever destroys a pool waits for one call of the driver at most. From the end, since what
  // is taken out of the list moves others only towards its beginning.
  while (left-- > 0) {
    const bool done = outside_captures([slot, left] {
      const Locked locked(the_mutex);
      if (left < known.size() && known[left].slot == slot) (void)real::cuMemPoolTrimTo(known[left].pool, 0);
    });
    if (!done) return false;
  }
  return true;
}

CUresult create(CUmemoryPool* pool, const CUmemPoolProps* properties) {
  const CUresult result = real::cuMemPoolCreate(pool, properties);
  if (result != CUDA_SUCCESS || !is_device_memory(*properties) || !process::activate()) return result;
  const Locked locked(the_mutex);
  (void)known.push({*pool, static_cast<unsigned>(properties->location.id)});  // without memory for it: not counted
  return result;
}

CUresult destroy(CUmemoryPool pool) {
  if (!gate::active_now()) return real::cuMemPoolDestroy(pool);
  const Locked locked(the_mutex);  // the handle may be given out again as soon as the driver has taken it back
  const CUresult result = real::cuMemPoolDestroy(pool);
  for (std::size_t i = known.size(); result == CUDA_SUCCESS && i-- > 0;)
    if (known[i].pool == pool) known.erase(i);
  return result;
}

CUresult allocated(CUresult result) {
  if (result != CUDA_SUCCESS) return result;
  if (process::captures_open() > 0) graph_memory::may_be_used();  // in a capture it is a node
  used.store(true, std::memory_order_release);
  native::changed();
  return result;
}

}  // namespace lull::pools
