#include "shim/allocations.h"
#include "shim/deferred.h"
#include "shim/engine.h"
#include "shim/environment.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/lookup.h"
#include "shim/managed.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::memory {
namespace {

constexpr std::size_t pitch_alignment = 512;  // satisfies cuMemcpy2D and texture alignment of every current GPU

// The GPU to allocate on, if this process is ours to manage.
std::optional<unsigned> managed_slot(CUcontext& context) {
  if (environment().native || !process::activate()) return std::nullopt;
  if (real::cuCtxGetCurrent(&context) != CUDA_SUCCESS || !context)
    return std::nullopt;  // the driver has the right error
  return process::slot_of(context);
}

// The driver waits for running work before it frees; programs rely on it. Who frees one piece after the other waits
// once: in a context that was found idle, nothing runs until something has been submitted.
struct Idle {
  CUcontext context;
  std::uint64_t submissions;
};
__thread Idle idle_last = {nullptr, 0};

CUcontext idle_context() {
  if (lookup::unknown_count() > 0) return nullptr;  // functions that nobody counts may submit, too
  const auto now = idle_last.context ? gate::settled_submissions() : std::nullopt;
  return now && *now == idle_last.submissions ? idle_last.context : nullptr;
}

void wait_as_the_driver_would(CUcontext context) {
  const auto before = gate::settled_submissions();
  const Current current(context);
  const bool waited = current && real::cuCtxSynchronize() == CUDA_SUCCESS;
  idle_last = waited && before ? Idle{context, *before} : Idle{};
}

// A stream capture may forbid its own or other threads to allocate, and is spoiled by the attempt; memory that comes
// out of our slabs would not even ask. So the driver is asked, by the smallest allocation there is.
CUresult forbidden_by_capture() {
  if (process::captures_open() == 0) return CUDA_SUCCESS;
  CUdeviceptr smallest = 0;
  const SignalsBlocked together;
  const CUresult asked = real::cuMemAlloc_v2(&smallest, 1);
  if (asked == CUDA_SUCCESS) {
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    (void)real::cuThreadExchangeStreamCaptureMode(&mode);
    (void)real::cuMemFree_v2(smallest);
    (void)real::cuThreadExchangeStreamCaptureMode(&mode);
  }
  return asked == CUDA_ERROR_OUT_OF_MEMORY ? CUDA_SUCCESS : asked;  // the card being full is for the broker to mend
}

// What was freed in a stream is free as soon as the stream has come to it, whether the mover has looked since or not.
CUresult allocate(unsigned slot, CUcontext context, std::size_t bytes, CUdeviceptr* base) {
  const CUresult result = allocations::allocate(slot, context, bytes, base);
  if (result != CUDA_ERROR_OUT_OF_MEMORY || !deferred::give_back_finished()) return result;
  return allocations::allocate(slot, context, bytes, base);
}

bool is_ours(CUdeviceptr base) {
  const auto allocation = gate::active_now() ? allocations::find(base) : std::nullopt;
  return allocation && allocation->base == base;
}

// Not ours to free; managed memory is in the books, though.
template <class Free>
CUresult freed_by_driver(CUdeviceptr base, Free free) {
  const std::uint64_t id = gate::active_now() ? managed::id_of(base) : 0;
  const CUresult result = free();
  if (id && result == CUDA_SUCCESS) managed::freed(base, id);
  return result;
}

}  // namespace

CUresult alloc(CUdeviceptr* base, std::size_t bytes) {
  CUcontext context = nullptr;
  const auto slot = managed_slot(context);
  if (!slot || !base || bytes == 0) return real::cuMemAlloc_v2(base, bytes);
  if (const CUresult forbidden = forbidden_by_capture()) return forbidden;
  if (!on(Protection::ungated_allocation)) const gate::Pass inside(nullptr);
  return allocate(*slot, context, bytes, base);
}

CUresult alloc_pitch(CUdeviceptr* base, std::size_t* pitch, std::size_t width, std::size_t height,
                     unsigned element_bytes) {
  CUcontext context = nullptr;
  const auto slot = managed_slot(context);
  const bool usual = element_bytes == 4 || element_bytes == 8 || element_bytes == 16;
  if (!slot || !base || !pitch || width == 0 || height == 0 || !usual)
    return real::cuMemAllocPitch_v2(base, pitch, width, height, element_bytes);
  const std::size_t row = (width + pitch_alignment - 1) / pitch_alignment * pitch_alignment;
  if (row < width || row > ~std::size_t{0} / height) return CUDA_ERROR_OUT_OF_MEMORY;
  if (const CUresult forbidden = forbidden_by_capture()) return forbidden;
  const CUresult result = allocate(*slot, context, row * height, base);
  if (result == CUDA_SUCCESS) *pitch = row;
  return result;
}

CUresult free(CUdeviceptr base) {
  if (!gate::active_now()) return real::cuMemFree_v2(base);
  const bool captures = on(Protection::capture_count) && process::captures_open() > 0;
  const auto freed = allocations::release_idle(base, captures ? nullptr : idle_context());
  if (freed.done) return CUDA_SUCCESS;
  if (!freed.context)  // not ours, or an error of the program's
    return freed_by_driver(base, [&] { return real::cuMemFree_v2(base); });
  if (captures) return deferred::free_after_captures(base);  // waiting would break the capture
  wait_as_the_driver_would(freed.context);
  return allocations::release(base);
}

// Inside a capture only memory of graphs can be freed, and what else it is given the driver refuses.
CUresult free_async(CUdeviceptr base, CUstream stream) {
  if (is_ours(base) && !capture::capturing(stream)) return deferred::free_in_stream(base, stream);
  return freed_by_driver(base, [&] { return real::cuMemFreeAsync(base, stream); });
}

CUresult free_async_ptsz(CUdeviceptr base, CUstream stream) {
  const CUstream own = stream ? stream : CU_STREAM_PER_THREAD;
  if (is_ours(base) && !capture::capturing(own)) return deferred::free_in_stream(base, own);
  return freed_by_driver(base, [&] { return real::cuMemFreeAsync_ptsz(base, stream); });
}

// Exported memory could never move again. LULL_IPC=native makes a process's allocations the driver's own, and this
// work.
CUresult ipc_get_handle(CUipcMemHandle* handle, CUdeviceptr base) {
  if (on(Protection::ipc_refusal) && gate::active_now() && allocations::find(base)) return CUDA_ERROR_NOT_SUPPORTED;
  return real::cuIpcGetMemHandle(handle, base);
}

}  // namespace lull::memory
