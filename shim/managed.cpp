#include "shim/managed.h"

#include <atomic>

#include "protocol/page.h"
#include "shim/environment.h"
#include "shim/handlers.h"
#include "shim/ledger.h"
#include "shim/make.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/range_tree.h"

namespace lull::managed {
namespace {

struct Known {
  Range whole;
  std::uint64_t id;  // never reused
  CUcontext context;
  unsigned slot;
  ledger::Region* region;  // null: native
  Range range() const { return whole; }
};
RangeTree<Known> known;  // under the ledger's lock
Vector<Known*> all;
std::atomic<std::uint64_t> last_id{0};
std::atomic<std::uint64_t> native_sums[max_gpus];

bool can_be_prefetched(unsigned slot) {
  int concurrent = 0;
  return real::cuDeviceGetAttribute(&concurrent, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
                                    static_cast<CUdevice>(slot)) == CUDA_SUCCESS &&
         concurrent;
}

void forget(const Locked& locked, Known* one) {
  known.remove(one);
  all.remove(one);
  if (one->region)
    ledger::retire(locked, one->region);
  else
    native_sums[one->slot].fetch_sub(one->whole.bytes, std::memory_order_relaxed);
  ledger::changed(locked, one->slot);
  destroy(one);
}

Known* record(const Locked& locked, const Known& made) {
  // Who frees takes it out of here only after the driver has freed it, and the driver gives addresses out again.
  while (Known* gone = known.overlapping(made.whole)) forget(locked, gone);
  Known* one = make<Known>();
  if (!one) return nullptr;
  *one = made;
  const bool listed = known.add(one);
  if (listed && all.push(one)) return one;
  if (listed) known.remove(one);
  destroy(one);
  return nullptr;
}

// Without memory of the host's for the record it stays unknown: native and not counted.
void note(Range whole, CUcontext context, unsigned slot) {
  bool missing;
  {
    const Locked locked(ledger::mutex());
    Known* one = record(locked, {whole, ++last_id, context, slot, nullptr});
    if (!one) return;
    const bool movable = on(Protection::managed_prefetch) && can_be_prefetched(slot);
    if (!movable || ledger::adopt_region(locked, slot, whole.at, whole.bytes, &one->region) != CUDA_SUCCESS)
      native_sums[slot].fetch_add(whole.bytes, std::memory_order_relaxed);
    ledger::changed(locked, slot);
    missing = ledger::anything_absent(locked, slot);
  }
  if (missing) process::kick_link();  // needed > resident is demand
}

bool advise(const ledger::Chunk& chunk, CUmem_advise advice) {
  const auto device = static_cast<CUdevice>(chunk.region->slot);  // of no matter to this advice
  return real::cuMemAdvise(chunk.base, chunk.bytes, advice, device) == CUDA_SUCCESS;
}

}  // namespace

std::uint64_t native_bytes(unsigned slot) { return native_sums[slot].load(std::memory_order_relaxed); }

std::uint64_t id_of(CUdeviceptr base) {
  if (last_id.load(std::memory_order_acquire) == 0) return 0;
  const Locked locked(ledger::mutex());
  const Known* one = known.at(base);
  return one && one->whole.at == base ? one->id : 0;
}

void freed(CUdeviceptr base, std::uint64_t id) {
  {
    const Locked locked(ledger::mutex());
    Known* one = known.at(base);
    if (!one || one->id != id) return;
    forget(locked, one);
  }
  process::kick_link();
  process::nudge_mover();  // what was evicted may fit now
}

void forget_context(CUcontext context) {
  const Locked locked(ledger::mutex());
  for (std::size_t i = all.size(); i-- > 0;)
    if (all[i]->context == context) forget(locked, all[i]);
}

bool unset_read_mostly(const ledger::Chunk& chunk) {
  int given = 0;
  return real::cuMemRangeGetAttribute(&given, sizeof given, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, chunk.base,
                                      chunk.bytes) == CUDA_SUCCESS &&
         given && advise(chunk, CU_MEM_ADVISE_UNSET_READ_MOSTLY);
}

void set_read_mostly(const ledger::Chunk& chunk) { (void)advise(chunk, CU_MEM_ADVISE_SET_READ_MOSTLY); }

CUresult alloc(CUdeviceptr* base, std::size_t bytes, unsigned flags) {
  const CUresult result = real::cuMemAllocManaged(base, bytes, flags);
  CUcontext context = nullptr;
  if (result != CUDA_SUCCESS || environment().native || !process::activate()) return result;
  if (real::cuCtxGetCurrent(&context) != CUDA_SUCCESS) return result;
  if (const auto slot = process::slot_of(context)) note({*base, bytes}, context, *slot);
  return result;
}

}  // namespace lull::managed
