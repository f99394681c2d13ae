// Device memory that comes with its address, and what is known about it.
#include "tests/driver/graph/graph.h"
#include "tests/driver/graph/memory_nodes.h"
#include "tests/driver/memory/graph_memory.h"
#include "tests/driver/memory/report.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr std::size_t pitch_alignment = 512;

CUresult allocate_for_caller(CUdeviceptr* dptr, std::size_t bytes, AllocationKind kind) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!dptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  *dptr = allocate(*context, bytes, kind);
  return *dptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!free || !total) return CUDA_ERROR_INVALID_VALUE;
  const MemoryInfo info = context->device().card->memory();
  *free = info.free;
  *total = info.total;
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* dptr, size_t bytesize) {
  return allocate_for_caller(dptr, bytesize, AllocationKind::device);
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* dptr, size_t* pPitch, size_t width, size_t height, unsigned element) {
  if (!pPitch || width == 0 || height == 0 || width > (std::size_t{1} << 40) || height > (std::size_t{1} << 40))
    return CUDA_ERROR_INVALID_VALUE;
  if (element != 4 && element != 8 && element != 16) return CUDA_ERROR_INVALID_VALUE;
  const std::size_t pitch = (width + pitch_alignment - 1) / pitch_alignment * pitch_alignment;
  if (height > SIZE_MAX / pitch) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = allocate_for_caller(dptr, pitch * height, AllocationKind::device);
  if (result == CUDA_SUCCESS) *pPitch = pitch;
  return result;
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!dptr) return CUDA_SUCCESS;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  // As on a GPU, memory is not taken from under running work.
  if (const CUresult failed = context->synchronize()) return failed;
  if (is_graph_memory(dptr)) return end_graph_allocation(dptr) ? free_graph_memory(dptr) : CUDA_ERROR_INVALID_VALUE;
  if (release(dptr)) return CUDA_SUCCESS;
  const std::scoped_lock lock(space().mutex);
  report_bad_free(dptr);
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* pbase, size_t* psize, CUdeviceptr dptr) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto answer = [&](std::uintptr_t base, std::size_t bytes) {
    if (pbase) *pbase = base;
    if (psize) *psize = bytes;
    return CUDA_SUCCESS;
  };
  if (const auto own = Space::containing(all.allocations, dptr); own != all.allocations.end())
    return answer(own->first, own->second.bytes);
  const auto range = Space::containing(all.mapped, dptr);
  const auto reserved = Space::containing(all.reservations, dptr);
  if (range != all.mapped.end() && reserved->second.holds == Holds::program)
    return answer(range->first, range->second.bytes);
  if (const auto host = Space::containing(all.host, dptr); host != all.host.end())
    return answer(host->first, host->second.bytes);
  return CUDA_ERROR_NOT_FOUND;
}

}  // namespace lull::sim::api
