// Pools as the program sees them. Only device memory: a pool of host or managed memory is answered "not supported".
#include <algorithm>

#include "tests/driver/memory/pool.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

CUmemoryPool handle_of(Pool& pool) { return reinterpret_cast<CUmemoryPool>(&pool); }

// The device that a location of memory means; null with the error otherwise.
Device* device_at(const CUmemLocation* location, CUmemAllocationType type, CUresult& error) {
  error = CUDA_ERROR_INVALID_VALUE;
  if (!location || (type != CU_MEM_ALLOCATION_TYPE_PINNED && type != CU_MEM_ALLOCATION_TYPE_MANAGED)) return nullptr;
  const bool host = location->type == CU_MEM_LOCATION_TYPE_HOST || location->type == CU_MEM_LOCATION_TYPE_HOST_NUMA;
  const bool nowhere = location->type == CU_MEM_LOCATION_TYPE_NONE && type == CU_MEM_ALLOCATION_TYPE_MANAGED;
  const bool on_device = location->type == CU_MEM_LOCATION_TYPE_DEVICE && device_of(location->id);
  if (!host && !nowhere && !on_device) return nullptr;
  if (!on_device || type == CU_MEM_ALLOCATION_TYPE_MANAGED) {
    error = CUDA_ERROR_NOT_SUPPORTED;
    return nullptr;
  }
  error = CUDA_SUCCESS;
  return device_of(location->id);
}

CUresult check(const CUmemPoolProps& props) {
  if (std::ranges::any_of(props.reserved, [](unsigned char c) { return c != 0; }) || props.win32SecurityAttributes)
    return CUDA_ERROR_INVALID_VALUE;
  if (props.usage & ~CU_MEM_POOL_CREATE_USAGE_HW_DECOMPRESS) return CUDA_ERROR_INVALID_VALUE;
  if (props.location.type == CU_MEM_LOCATION_TYPE_HOST && props.handleTypes != CU_MEM_HANDLE_TYPE_NONE)
    return CUDA_ERROR_INVALID_VALUE;
  CUresult error = CUDA_SUCCESS;
  if (!device_at(&props.location, props.allocType, error)) return error;
  return check_handle_types(props.handleTypes);
}

CUresult make_current(Device& device, CUmemoryPool handle) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool || &pool->device() != &device || pool->imported()) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  current_pool(device) = pool.get();
  return CUDA_SUCCESS;
}

int* reuse_flag(Pool& pool, CUmemPool_attribute attribute) {
  switch (attribute) {
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES: return &pool.follow_event_dependencies;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC: return &pool.allow_opportunistic;
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: return &pool.allow_internal_dependencies;
    default: return nullptr;
  }
}

bool known_access(CUmemAccess_flags flags) {
  return flags == CU_MEM_ACCESS_FLAGS_PROT_NONE || flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
         flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
}

// The pool's own device always has access, others never: no device here reaches into another.
bool possible(const Pool& pool, const CUmemAccessDesc& desc) {
  if (desc.location.type != CU_MEM_LOCATION_TYPE_DEVICE || !known_access(desc.flags)) return false;
  const Device* device = device_of(desc.location.id);
  const auto only = device == &pool.device() ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return device && desc.flags == only;
}

}  // namespace

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  *pool = handle_of(default_pool(*device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  *pool = handle_of(*current_pool(*device));
  return CUDA_SUCCESS;
}

CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool) {
  Device* device = device_of(dev);
  return device ? make_current(*device, pool) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuMemGetDefaultMemPool(CUmemoryPool* pool, CUmemLocation* location, CUmemAllocationType type) {
  CUresult error = CUDA_SUCCESS;
  const Device* device = device_at(location, type, error);
  return device ? api::cuDeviceGetDefaultMemPool(pool, device->ordinal) : error;
}

CUresult cuMemGetMemPool(CUmemoryPool* pool, CUmemLocation* location, CUmemAllocationType type) {
  CUresult error = CUDA_SUCCESS;
  const Device* device = device_at(location, type, error);
  return device ? api::cuDeviceGetMemPool(pool, device->ordinal) : error;
}

CUresult cuMemSetMemPool(CUmemLocation* location, CUmemAllocationType type, CUmemoryPool pool) {
  CUresult error = CUDA_SUCCESS;
  Device* device = device_at(location, type, error);
  return device ? make_current(*device, pool) : error;
}

CUresult cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps* poolProps) {
  if (!pool || !poolProps) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = check(*poolProps)) return failed;
  const std::scoped_lock lock(space().mutex);
  *pool = handle_of(*make_pool(*device_of(poolProps->location.id), *poolProps));
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  if (pool.get() == &default_pool(pool->device())) return CUDA_ERROR_INVALID_VALUE;
  if (current_pool(pool->device()) == pool.get()) current_pool(pool->device()) = &default_pool(pool->device());
  registry<Pool>().remove(handle);
  pool->close();
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attr, void* value) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool || !value) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  if (int* flag = reuse_flag(*pool, attr)) {
    *flag = *static_cast<const int*>(value) != 0;
    return CUDA_SUCCESS;
  }
  if (attr == CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) {
    pool->release_threshold = *static_cast<const cuuint64_t*>(value);
    return CUDA_SUCCESS;
  }
  const bool mark = attr == CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH || attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH;
  if (!mark || *static_cast<const cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
  (attr == CU_MEMPOOL_ATTR_USED_MEM_HIGH ? pool->used : pool->reserved).reset();
  return CUDA_SUCCESS;
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute, void* value) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool || !value) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  if (const int* flag = reuse_flag(*pool, attribute)) {
    *static_cast<int*>(value) = *flag;
    return CUDA_SUCCESS;
  }
  auto& answer = *static_cast<cuuint64_t*>(value);
  switch (attribute) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: answer = pool->release_threshold; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: answer = pool->reserved.now; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: answer = pool->reserved.high; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: answer = pool->used.now; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: answer = pool->used.high; return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t minBytesToKeep) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  pool->trim(minBytesToKeep);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* map, size_t count) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool || !map || count == 0) return CUDA_ERROR_INVALID_VALUE;
  const bool all = std::all_of(map, map + count, [&](const CUmemAccessDesc& desc) { return possible(*pool, desc); });
  return all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool handle, CUmemLocation* location) {
  const auto pool = registry<Pool>().find(handle);
  if (!pool || !flags || !location || location->type != CU_MEM_LOCATION_TYPE_DEVICE || !device_of(location->id))
    return CUDA_ERROR_INVALID_VALUE;
  const bool own = device_of(location->id) == &pool->device();
  *flags = own ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE : CU_MEM_ACCESS_FLAGS_PROT_NONE;
  return CUDA_SUCCESS;
}

}  // namespace lull::sim::api
