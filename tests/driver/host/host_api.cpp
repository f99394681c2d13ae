// Page-locked host memory: allocated here, or the program's own and registered.
#include <sys/mman.h>

#include <algorithm>

#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/guard.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/touch.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

std::uintptr_t page_of(std::uintptr_t address) { return address / host_page_bytes * host_page_bytes; }

// Whether the program has memory there at all. Asked piece by piece: what a program says of its size may be anything.
bool present(std::uintptr_t base, std::size_t bytes) {
  constexpr std::size_t piece_pages = 4096;
  std::vector<unsigned char> resident(piece_pages);
  const std::uintptr_t end = base + bytes;
  for (std::uintptr_t at = page_of(base); at < end; at += piece_pages * host_page_bytes) {
    const std::size_t piece = std::min(end - at, piece_pages * host_page_bytes);
    if (::mincore(reinterpret_cast<void*>(at), piece, resident.data()) != 0) return false;
    if (end - at == piece) return true;  // the next address may not be one
  }
  return true;
}

// Whether its first and last byte can be used as the device will use them.
bool usable(std::uintptr_t base, std::size_t bytes, unsigned flags) {
  return run_touching_memory([&] {
    for (const std::uintptr_t at : {base, base + bytes - 1}) {
      (void)load_touching<unsigned char>(at);
      if (!(flags & CU_MEMHOSTREGISTER_READ_ONLY)) rewrite_touching<unsigned char>(at);
    }
  });
}

bool overlaps(const std::map<std::uintptr_t, HostRange>& ranges, std::uintptr_t base, std::size_t bytes) {
  const auto next = ranges.lower_bound(base);
  return (next != ranges.end() && next->first < base + bytes) || Space::containing(ranges, base) != ranges.end();
}

// Addresses of devices are not host memory, even where a program could touch them.
bool of_device(Space& all, std::uintptr_t base, std::size_t bytes) {
  const auto next = all.reservations.lower_bound(base);
  return (next != all.reservations.end() && next->first < base + bytes) ||
         Space::containing(all.reservations, base) != all.reservations.end();
}

}  // namespace

CUresult cuMemHostAlloc(void** pp, size_t bytesize, unsigned flags) {
  const Found context = current_context();
  if (!context) return context.error;
  constexpr unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (!pp || bytesize == 0 || (flags & ~known)) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (bytesize > SIZE_MAX - host_page_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  void* p =
      ::mmap(nullptr, whole_pages(bytesize), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (p == MAP_FAILED) return CUDA_ERROR_OUT_OF_MEMORY;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  if (!context->active()) {  // another thread destroyed it meanwhile
    (void)::munmap(p, whole_pages(bytesize));
    return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  }
  // Unified addressing: all page-locked memory is device-visible at its own address.
  all.host[reinterpret_cast<std::uintptr_t>(p)] = {bytesize, HostKind::allocated, flags | CU_MEMHOSTALLOC_DEVICEMAP,
                                                   context.context.get(), next_allocation_id()};
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
  constexpr unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY |
                             CU_MEMHOSTREGISTER_READ_ONLY;
  const auto base = reinterpret_cast<std::uintptr_t>(p);
  if (!p || bytesize == 0 || bytesize > UINTPTR_MAX - base || (flags & ~known)) return CUDA_ERROR_INVALID_VALUE;
  // Memory of other devices on the bus: there is no bus here.
  if (flags & CU_MEMHOSTREGISTER_IOMEMORY) return CUDA_ERROR_NOT_SUPPORTED;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  if (!present(base, bytesize)) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  if (!context->active()) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (overlaps(all.host, base, bytesize)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  if (of_device(all, base, bytesize) || !usable(base, bytesize, flags)) return CUDA_ERROR_INVALID_VALUE;
  all.host[base] = {bytesize, HostKind::registered, flags, context.context.get(), next_allocation_id()};
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

// Only of what was allocated here: a registration has flags of another kind.
CUresult cuMemHostGetFlags(unsigned* pFlags, void* p) {
  if (!pFlags) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = Space::containing(all.host, reinterpret_cast<std::uintptr_t>(p));
  if (found == all.host.end() || found->second.kind != HostKind::allocated) return CUDA_ERROR_INVALID_VALUE;
  *pFlags = found->second.flags;
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
