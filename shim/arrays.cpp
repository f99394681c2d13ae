#include "shim/arrays.h"

#include <atomic>

#include "protocol/page.h"
#include "shim/array_bytes.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/lock.h"
#include "shim/native.h"
#include "shim/process.h"
#include "shim/room.h"
#include "shim/vector.h"

namespace lull::arrays {
namespace {

struct Known {
  std::uint64_t handle, bytes;
  CUcontext context;
  unsigned slot;
};
Mutex the_mutex;  // held while the driver destroys one: its handle may be given out again at once
Vector<Known> known;
std::atomic<std::uint64_t> sums[max_gpus];

void note(std::uint64_t handle, std::uint64_t bytes) {
  CUcontext context = nullptr;
  if (!process::activate() || real::cuCtxGetCurrent(&context) != CUDA_SUCCESS) return;
  const auto slot = process::slot_of(context);
  if (!slot) return;
  const Locked locked(the_mutex);
  if (!known.push({handle, bytes, context, *slot})) return;  // without memory for it: not counted
  sums[*slot].fetch_add(bytes, std::memory_order_relaxed);
  native::changed();
}

void forget(const Locked&, std::size_t i) {
  sums[known[i].slot].fetch_sub(known[i].bytes, std::memory_order_relaxed);
  known.erase(i);
  native::changed();
}

template <class Handle>
CUresult destroy_with(CUresult (*call)(Handle), Handle array) {
  if (!gate::active_now()) return call(array);
  const Locked locked(the_mutex);
  const CUresult result = call(array);
  for (std::size_t i = known.size(); result == CUDA_SUCCESS && i-- > 0;)
    if (known[i].handle == reinterpret_cast<std::uint64_t>(array)) forget(locked, i);
  return result;
}

// By what its description says, at least.
template <class Make, class Handle, class Description>
CUresult made(Make make, const Handle* array, const Description* description, unsigned levels = 1) {
  CUresult result = make();
  if (result == CUDA_ERROR_OUT_OF_MEMORY) result = room::ask_and_call(make, {{}, array_bytes(*description, levels)});
  if (result == CUDA_SUCCESS) note(reinterpret_cast<std::uint64_t>(*array), array_bytes(*description, levels));
  return result;
}

bool has_memory(const CUDA_ARRAY3D_DESCRIPTOR* d) {
  return d && !(d->Flags & (CUDA_ARRAY3D_SPARSE | CUDA_ARRAY3D_DEFERRED_MAPPING));
}

}  // namespace

std::uint64_t bytes(unsigned slot) { return sums[slot].load(std::memory_order_relaxed); }

void forget_context(CUcontext context) {
  const Locked locked(the_mutex);
  for (std::size_t i = known.size(); i-- > 0;)
    if (known[i].context == context) forget(locked, i);
}

CUresult create(CUarray* array, const CUDA_ARRAY_DESCRIPTOR* description) {
  return made([&] { return real::cuArrayCreate_v2(array, description); }, array, description);
}

CUresult create_3d(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR* description) {
  auto make = [&] { return real::cuArray3DCreate_v2(array, description); };
  return has_memory(description) ? made(make, array, description) : make();
}

CUresult create_mipmapped(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR* description, unsigned levels) {
  auto make = [&] { return real::cuMipmappedArrayCreate(array, description, levels); };
  return has_memory(description) ? made(make, array, description, levels) : make();
}

CUresult destroy(CUarray array) { return destroy_with(real::cuArrayDestroy.address(), array); }
CUresult destroy(CUmipmappedArray array) { return destroy_with(real::cuMipmappedArrayDestroy.address(), array); }

}  // namespace lull::arrays
