#include "shim/deferred.h"

#include "shim/allocations.h"
#include "shim/engine.h"
#include "shim/lock.h"
#include "shim/process.h"
#include "shim/vector.h"

namespace lull::deferred {
namespace {

struct Freed {
  CUdeviceptr base;
  std::uint64_t id;
  CUcontext context;  // of the event, or where to wait
  CUevent passed;     // recorded where it was freed; null: during a capture
};
Mutex the_mutex;  // taken before the ledger's
Vector<Freed> all;
std::atomic<unsigned> count{0};  // most programs have none, and ask often

// Making an event may count as unsafe while a capture is open; ours has nothing to do with any.
class Relaxed {
 public:
  Relaxed() { exchange(); }
  ~Relaxed() { exchange(); }
  Relaxed(const Relaxed&) = delete;
  Relaxed& operator=(const Relaxed&) = delete;

 private:
  void exchange() { (void)real::cuThreadExchangeStreamCaptureMode(&mode_); }
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

CUresult mark(CUstream stream, CUevent* passed) {
  const CUresult made = real::cuEventCreate(passed, CU_EVENT_DISABLE_TIMING);
  if (made != CUDA_SUCCESS) return made;
  const CUresult recorded = real::cuEventRecord(*passed, stream);
  if (recorded != CUDA_SUCCESS) (void)real::cuEventDestroy_v2(*passed);
  return recorded;
}

bool keep(const Freed& freed) {
  const Locked locked(the_mutex);
  if (!all.push(freed)) return false;
  count.store(static_cast<unsigned>(all.size()), std::memory_order_release);
  return true;
}

void finish(const Locked&, std::size_t i) {
  const Freed freed = all[i];
  all.erase(i);
  count.store(static_cast<unsigned>(all.size()), std::memory_order_release);
  allocations::give_back(freed.base, freed.id);
}

// The context to wait in for something freed during a capture; null: nothing is left.
CUcontext wanted(std::uint64_t* id) {
  const Locked locked(the_mutex);
  for (const Freed& freed : all)
    if (!freed.passed) return *id = freed.id, freed.context;
  return nullptr;
}

void give_back(std::uint64_t id) {
  const Locked locked(the_mutex);
  for (std::size_t i = all.size(); i-- > 0;)
    if (all[i].id == id) finish(locked, i);
}

}  // namespace

CUresult free_in_stream(CUdeviceptr base, CUstream stream) {
  const Relaxed relaxed;
  CUcontext context = nullptr;
  const CUresult found = real::cuStreamGetCtx(stream, &context);
  if (found == CUDA_ERROR_DEINITIALIZED) return allocations::release(base);  // the program is on its way out
  if (found != CUDA_SUCCESS) return found;
  const Current current(context);
  CUevent passed = nullptr;
  if (const CUresult failed = mark(stream, &passed)) return failed;
  const auto id = allocations::take(base);
  if (!id) {
    (void)real::cuEventDestroy_v2(passed);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (keep({base, *id, context, passed})) return CUDA_SUCCESS;
  (void)real::cuEventSynchronize(passed);  // the host has no memory to remember it
  (void)real::cuEventDestroy_v2(passed);
  allocations::give_back(base, *id);
  return CUDA_SUCCESS;
}

CUresult free_after_captures(CUdeviceptr base) {
  const auto allocation = allocations::find(base);
  const auto id = allocations::take(base);
  if (!allocation || !id) return CUDA_ERROR_INVALID_VALUE;
  (void)keep({base, *id, allocation->context, nullptr});  // without memory for it, it goes with its context
  return CUDA_SUCCESS;
}

bool give_back_finished() {
  if (count.load(std::memory_order_acquire) == 0) return false;
  if (process::captures_open() > 0) return false;  // in which nothing may be asked or unmapped
  bool some = false;
  const Locked locked(the_mutex);
  for (std::size_t i = all.size(); i-- > 0;) {
    const CUevent passed = all[i].passed;
    if (!passed || real::cuEventQuery(passed) == CUDA_ERROR_NOT_READY) continue;
    (void)real::cuEventDestroy_v2(passed);
    finish(locked, i);
    some = true;
  }
  return some;
}

void give_back() {
  (void)give_back_finished();
  std::uint64_t id = 0;
  while (count.load(std::memory_order_acquire) != 0 && process::captures_open() == 0) {
    const CUcontext context = wanted(&id);
    if (!context) return;
    {
      const Current current(context);
      if (current) (void)real::cuCtxSynchronize();
    }
    give_back(id);
  }
}

void forget_context(CUcontext context) {
  const Locked locked(the_mutex);
  for (std::size_t i = all.size(); i-- > 0;)
    if (all[i].context == context) finish(locked, i);
}

}  // namespace lull::deferred
