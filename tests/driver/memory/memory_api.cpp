// Allocation, host memory and what is known about them.
#include <sys/mman.h>

#include <algorithm>

#include "tests/driver/graph/graph.h"
#include "tests/driver/graph/memory_nodes.h"
#include "tests/driver/memory/graph_memory.h"
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

// Whether the program has memory there at all.
bool present(void* p, std::size_t bytes) {
  const auto start = reinterpret_cast<std::uintptr_t>(p) / host_page_bytes * host_page_bytes;
  const auto end = reinterpret_cast<std::uintptr_t>(p) + bytes;
  std::vector<unsigned char> resident((end - start + host_page_bytes - 1) / host_page_bytes);
  return ::mincore(reinterpret_cast<void*>(start), end - start, resident.data()) == 0;
}

bool overlaps(const std::map<std::uintptr_t, HostRange>& ranges, std::uintptr_t base, std::size_t bytes) {
  const auto next = ranges.lower_bound(base);
  return (next != ranges.end() && next->first < base + bytes) || Space::containing(ranges, base) != ranges.end();
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

CUresult cuMemAllocManaged(CUdeviceptr* dptr, size_t bytesize, unsigned flags) {
  if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) return CUDA_ERROR_INVALID_VALUE;
  return allocate_for_caller(dptr, bytesize, AllocationKind::managed);
}

CUresult cuMemFree_v2(CUdeviceptr dptr) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!dptr) return CUDA_SUCCESS;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  // As on a GPU, memory is not taken from under running work.
  if (const CUresult failed = context->synchronize()) return failed;
  if (is_graph_memory(dptr)) return end_graph_allocation(dptr) ? free_graph_memory(dptr) : CUDA_ERROR_INVALID_VALUE;
  return release(dptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
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

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  constexpr unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (!pp || bytesize == 0 || (flags & ~known)) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  void* p =
      ::mmap(nullptr, whole_pages(bytesize), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  // Unified addressing: all page-locked memory is device-visible at its own address.
  all.host[reinterpret_cast<std::uintptr_t>(p)] = {bytesize, HostKind::allocated, flags | CU_MEMHOSTALLOC_DEVICEMAP,
                                                   context.context.get()};
  *pp = p;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** pp, size_t bytesize) { return api::cuMemHostAlloc(pp, bytesize, 0); }

CUresult cuMemFreeHost(void* p) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (const CUresult failed = context->synchronize()) return failed;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.host.find(reinterpret_cast<std::uintptr_t>(p));
  if (found == all.host.end() || found->second.kind != HostKind::allocated) return CUDA_ERROR_INVALID_VALUE;
  (void)::munmap(p, whole_pages(found->second.bytes));
  all.host.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* p, size_t bytesize, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  constexpr unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
  if (!p || bytesize == 0 || (flags & ~known)) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (!present(p, bytesize)) return CUDA_ERROR_INVALID_VALUE;
  const auto base = reinterpret_cast<std::uintptr_t>(p);
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  if (overlaps(all.host, base, bytesize)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  all.host[base] = {bytesize, HostKind::registered, flags, context.context.get()};
  return CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void* p) {
  const Found context = current_context();
  if (!context) return context.error;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.host.find(reinterpret_cast<std::uintptr_t>(p));
  if (found == all.host.end() || found->second.kind != HostKind::registered)
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  all.host.erase(found);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* pdptr, void* p, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!pdptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  if (Space::containing(all.host, address) == all.host.end()) return CUDA_ERROR_INVALID_VALUE;
  *pdptr = address;
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned* pFlags, void* p) {
  if (!pFlags) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = Space::containing(all.host, reinterpret_cast<std::uintptr_t>(p));
  if (found == all.host.end()) return CUDA_ERROR_INVALID_VALUE;
  *pFlags = found->second.flags;
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
