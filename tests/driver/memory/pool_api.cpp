// Stream-ordered memory. An allocation is made when it is asked for and is good at once; a free happens in the order of
// its stream. The device's default pool is the only one, and it keeps nothing: freed memory is the card's again.
#include "tests/driver/graph/graph.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/surface/api.h"

namespace lull::sim::api {
namespace {

// The pool's handle is its device: there is one each, for ever.
CUmemoryPool pool_of(Device& device) { return reinterpret_cast<CUmemoryPool>(&device); }
Device* device_of_pool(CUmemoryPool pool) {
  for (auto& device : devices()) {
    if (pool_of(*device) == pool) return device.get();
  }
  return nullptr;
}

CUresult default_pool(CUmemoryPool* out, CUdevice dev) {
  Device* device = device_of(dev);
  if (!device) return CUDA_ERROR_INVALID_DEVICE;
  if (!out) return CUDA_ERROR_INVALID_VALUE;
  *out = pool_of(*device);
  return CUDA_SUCCESS;
}

std::uint64_t used_bytes(const Device& device) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  std::uint64_t bytes = 0;
  for (const auto& [base, allocation] : all.allocations) {
    if (allocation.kind == AllocationKind::pool && allocation.device == &device) bytes += allocation.bytes;
  }
  return bytes;
}

bool of_pool(CUdeviceptr dptr) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  return all.allocations.contains(dptr);
}

}  // namespace

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice dev) { return default_pool(pool, dev); }
CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice dev) { return default_pool(pool, dev); }

CUresult cuMemAllocAsync(CUdeviceptr* dptr, size_t bytesize, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!dptr) return CUDA_ERROR_INVALID_VALUE;
  if (capture_of(*stream)) return CUDA_ERROR_NOT_SUPPORTED;  // graphs have no memory nodes here
  const auto context = stream->context();
  if (!context) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  *dptr = bytesize ? allocate(*context, bytesize, AllocationKind::pool) : 0;
  return *dptr || !bytesize ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAllocFromPoolAsync(CUdeviceptr* dptr, size_t bytesize, CUmemoryPool pool, CUstream hStream) {
  return device_of_pool(pool) ? api::cuMemAllocAsync(dptr, bytesize, hStream) : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  const FoundStream stream = find_stream(hStream);
  if (!stream) return stream.error;
  if (!dptr) return CUDA_SUCCESS;
  if (capture_of(*stream)) return CUDA_ERROR_NOT_SUPPORTED;
  if (!of_pool(dptr)) return CUDA_ERROR_INVALID_VALUE;
  return submit(*stream, CU_GRAPH_NODE_TYPE_MEM_FREE, [dptr](Running& running) {
    running.end_ns = running.ready_ns;
    return release(dptr) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) {
  return device_of_pool(pool) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;  // nothing is ever kept
}

CUresult cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute, void* value) {
  const Device* device = device_of_pool(pool);
  if (!device || !value) return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
      *static_cast<cuuint64_t*>(value) = used_bytes(*device);
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: *static_cast<cuuint64_t*>(value) = 0; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: *static_cast<int*>(value) = 1; return CUDA_SUCCESS;
    default: return CUDA_ERROR_NOT_SUPPORTED;
  }
}

}  // namespace lull::sim::api
