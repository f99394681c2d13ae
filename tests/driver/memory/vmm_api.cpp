// Virtual memory management, with the rules of cuda.h taken strictly: the shim's mistakes should show here.
#include <cstring>

#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/report.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

constexpr std::size_t page_bytes = 4096;

bool whole_granules(std::uint64_t value) { return value % granule_bytes == 0; }

// Only memory of a device: this driver has no host memory behind cuMemCreate, as its attributes tell.
CUresult check(const CUmemAllocationProp* prop) {
  if (!prop || (prop->type != CU_MEM_ALLOCATION_TYPE_PINNED && prop->type != CU_MEM_ALLOCATION_TYPE_MANAGED))
    return CUDA_ERROR_INVALID_VALUE;
  const CUmemLocationType type = prop->location.type;
  const bool host = type == CU_MEM_LOCATION_TYPE_HOST || type == CU_MEM_LOCATION_TYPE_HOST_NUMA ||
                    type == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
  if (host || prop->type == CU_MEM_ALLOCATION_TYPE_MANAGED) return CUDA_ERROR_NOT_SUPPORTED;
  if (type != CU_MEM_LOCATION_TYPE_DEVICE || prop->win32HandleMetaData) return CUDA_ERROR_INVALID_VALUE;
  if (!device_of(prop->location.id)) return CUDA_ERROR_INVALID_DEVICE;
  if (prop->allocFlags.gpuDirectRDMACapable > 1) return CUDA_ERROR_INVALID_VALUE;
  return prop->allocFlags.gpuDirectRDMACapable ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

bool known_access(CUmemAccess_flags flags) {
  return flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
         flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

// Inside one reservation of the program, nothing of it mapped yet.
bool free_to_map(Space& all, std::uintptr_t base, std::size_t bytes) {
  const auto reserved = Space::containing(all.reservations, base);
  if (reserved == all.reservations.end() || reserved->second.holds != Holds::program) return false;
  if (bytes > reserved->second.bytes - (base - reserved->first)) return false;
  const auto next = all.mapped.lower_bound(base);
  return (next == all.mapped.end() || next->first >= base + bytes) &&
         Space::containing(all.mapped, base) == all.mapped.end();
}

bool of_program(Space& all, std::uintptr_t address) {
  const auto reserved = Space::containing(all.reservations, address);
  return reserved != all.reservations.end() && reserved->second.holds == Holds::program;
}

}  // namespace

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* prop,
                                       CUmemAllocationGranularity_flags option) {
  if (!granularity) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult wrong = check(prop)) return wrong;
  if (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM && option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
    return CUDA_ERROR_INVALID_VALUE;
  *granularity = granule_bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr* ptr, size_t size, size_t alignment, CUdeviceptr addr,
                             unsigned long long flags) {
  const bool good_alignment = (alignment & (alignment - 1)) == 0;
  if (!ptr || size == 0 || size % page_bytes || !good_alignment || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  *ptr = all.reserve(size, std::max(alignment, granule_bytes), addr, Holds::program);
  return *ptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAddressFree(CUdeviceptr ptr, size_t size) {
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto reserved = all.reservations.find(ptr);
  if (reserved == all.reservations.end() || reserved->second.holds != Holds::program || reserved->second.bytes != size)
    return CUDA_ERROR_INVALID_VALUE;
  const auto first = all.mapped.lower_bound(ptr);
  if (first != all.mapped.end() && first->first < ptr + size) {
    report("address freed while memory is mapped there", ptr, size);
    return CUDA_ERROR_INVALID_VALUE;
  }
  all.unreserve(ptr);
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t size, const CUmemAllocationProp* prop,
                     unsigned long long flags) {
  if (const CUresult wrong = check(prop)) return wrong;
  if (!handle || size == 0 || !whole_granules(size) || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = check_handle_types(prop->requestedHandleTypes)) return failed;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  auto physical = Physical::take(*device_of(prop->location.id), size);
  if (!physical) return CUDA_ERROR_OUT_OF_MEMORY;
  physical->properties = *prop;
  physical->properties.allocFlags.compressionType = CU_MEM_ALLOCATION_COMP_NONE;  // a wish, and not granted here
  *handle = all.handle_of(physical);
  return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.handles.find(handle);
  if (found == all.handles.end()) {
    report("released more often than it was had", handle, 0);
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (--found->second->references == 0) all.handles.erase(found);  // mappings keep the memory
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  if (size == 0 || !whole_granules(size) || !whole_granules(ptr) || offset != 0 || flags != 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.handles.find(handle);
  if (found == all.handles.end() || size > found->second->bytes) return CUDA_ERROR_INVALID_VALUE;
  if (!free_to_map(all, ptr, size)) {
    if (of_program(all, ptr)) report("mapped where something is mapped", ptr, size);
    return CUDA_ERROR_INVALID_VALUE;
  }
  return all.map(ptr, size, found->second) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemUnmap(CUdeviceptr ptr, size_t size) {
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto mappings = all.whole_mappings(ptr, size);
  if (mappings.empty() || !of_program(all, ptr)) {
    report_bad_unmap(ptr, size);
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Work in flight is not waited for: the header does not promise it, and a shim that relies on it must fail here.
  for (const std::uintptr_t base : mappings) all.unmap(base);
  return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr ptr, size_t size, const CUmemAccessDesc* desc, size_t count) {
  if (!desc || count == 0) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult refused = unsafe_during_capture()) return refused;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto mappings = all.whole_mappings(ptr, size);
  if (mappings.empty() || !of_program(all, ptr)) return CUDA_ERROR_INVALID_VALUE;
  for (std::size_t i = 0; i < count; ++i) {
    if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
    if (!device_of(desc[i].location.id)) return CUDA_ERROR_INVALID_DEVICE;
    if (!known_access(desc[i].flags)) return CUDA_ERROR_INVALID_VALUE;
  }
  for (const std::uintptr_t base : mappings) {
    for (std::size_t i = 0; i < count; ++i) {
      if (!all.set_access(base, desc[i].flags)) return CUDA_ERROR_OUT_OF_MEMORY;
    }
  }
  return CUDA_SUCCESS;
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr ptr) {
  if (!flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE || !device_of(location->id))
    return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto range = Space::containing(all.mapped, ptr);
  if (range == all.mapped.end() || !of_program(all, ptr)) return CUDA_ERROR_INVALID_VALUE;
  *flags = range->second.access;
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* prop, CUmemGenericAllocationHandle handle) {
  if (!prop) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.handles.find(handle);
  if (found == all.handles.end()) return CUDA_ERROR_INVALID_VALUE;
  *prop = found->second->properties;
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle, void* addr) {
  if (!handle) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(addr);
  const auto range = Space::containing(all.mapped, address);
  if (range == all.mapped.end() || !of_program(all, address)) return CUDA_ERROR_INVALID_VALUE;
  // The same value as ever, even where all references had been released and only the mapping kept the memory.
  *handle = all.handle_of(range->second.physical);
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
