#include "shim/allocations.h"
#include "shim/arrays.h"
#include "shim/deferred.h"
#include "shim/drain.h"
#include "shim/flight.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/lock.h"
#include "shim/managed.h"
#include "shim/mover.h"
#include "shim/process.h"
#include "shim/residency.h"
#include "shim/room.h"

namespace lull::context {
namespace {

// Who releases the last reference of a primary context has its memory forgotten. Nobody may retain it in between: the
// next one can have the same handle.
Mutex primaries;

CUresult noted(CUresult result, CUcontext* context) {
  if (result == CUDA_SUCCESS && context && *context && process::activate()) process::note_context(*context);
  return result;
}

// The first one has to be known to a broker before it can ask for room.
template <class Make>
CUresult made(Make make, CUcontext* context, CUdevice device) {
  CUresult result = make();
  if (result == CUDA_ERROR_OUT_OF_MEMORY && process::activate()) {
    process::note_device(device);
    result = room::ask_and_call(make, {static_cast<unsigned>(device)});
  }
  return noted(result, context);
}

// Under the lock, which keeps signals out: a reference too many would stay.
CUcontext primary_of(CUdevice device) {
  CUcontext context = nullptr;
  unsigned flags = 0;
  int alive = 0;
  if (real::cuDevicePrimaryCtxGetState(device, &flags, &alive) != CUDA_SUCCESS || !alive) return nullptr;
  if (real::cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS) return nullptr;
  (void)real::cuDevicePrimaryCtxRelease_v2(device);  // only its handle was wanted
  return context;
}

bool primary_alive(CUdevice device) {
  unsigned flags = 0;
  int alive = 0;
  return real::cuDevicePrimaryCtxGetState(device, &flags, &alive) == CUDA_SUCCESS && alive;
}

}  // namespace

// cuMemCreate memory does not go with its context, but the program's cuMemAlloc memory does; ours has to do as it
// would.
void forget(CUcontext context) {
  process::forget_context(context);
  residency::forget_context(context);
  drain::forget_context(context);
  arrays::forget_context(context);
  managed::forget_context(context);
  allocations::release_context(context);
  deferred::forget_context(context);
}

CUresult create(CUcontext* context, unsigned flags, CUdevice device) {
  return made([&] { return real::cuCtxCreate_v2(context, flags, device); }, context, device);
}

CUresult create_v3(CUcontext* context, CUexecAffinityParam* affinity, int count, unsigned flags, CUdevice device) {
  return made([&] { return real::cuCtxCreate_v3(context, affinity, count, flags, device); }, context, device);
}

CUresult create_v4(CUcontext* context, CUctxCreateParams* parameters, unsigned flags, CUdevice device) {
  return made([&] { return real::cuCtxCreate_v4(context, parameters, flags, device); }, context, device);
}

CUresult destroy(CUcontext context) {
  if (!gate::active_now()) return real::cuCtxDestroy_v2(context);
  const mover::Rest rest;
  flight::forget_context(context);
  const CUresult result = real::cuCtxDestroy_v2(context);
  if (result == CUDA_SUCCESS) forget(context);
  return result;
}

CUresult primary_retain(CUcontext* context, CUdevice device) {
  if (!gate::active_now())
    return made([&] { return real::cuDevicePrimaryCtxRetain(context, device); }, context, device);
  const auto make = [&] {
    const Locked locked(primaries);
    return real::cuDevicePrimaryCtxRetain(context, device);
  };
  return made(make, context, device);
}

CUresult primary_release(CUdevice device) {
  if (!gate::active_now()) return real::cuDevicePrimaryCtxRelease_v2(device);
  const mover::Rest rest;
  const Locked locked(primaries);
  const CUcontext context = primary_of(device);
  flight::forget_context(context);
  const CUresult result = real::cuDevicePrimaryCtxRelease_v2(device);
  if (result == CUDA_SUCCESS && context && !primary_alive(device)) forget(context);
  return result;
}

CUresult primary_reset(CUdevice device) {
  if (!gate::active_now()) return real::cuDevicePrimaryCtxReset_v2(device);
  const mover::Rest rest;
  const Locked locked(primaries);
  const CUcontext context = primary_of(device);
  flight::forget_context(context);
  const CUresult result = real::cuDevicePrimaryCtxReset_v2(device);
  if (result == CUDA_SUCCESS && context) forget(context);
  return result;
}

}  // namespace lull::context
