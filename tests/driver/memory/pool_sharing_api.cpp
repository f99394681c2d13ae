// Pools between processes. A pool that was made for it is passed on as a descriptor; the blocks of it are passed on one
// by one, each with the chunk it lies in. An imported pool makes no allocations of its own.
#include <cstring>

#include "tests/driver/memory/pool.h"
#include "tests/driver/memory/sharing.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t magic = 0x4c4f4f504d495347u;

struct PointerData {
  std::uint64_t magic, pool_serial, chunk_serial, offset, bytes;
  std::uint32_t chunk_index;
};
static_assert(sizeof(PointerData) <= sizeof(CUmemPoolPtrExportData));

// Where the physical memory behind a block of a pool is mapped. Locked.
const std::pair<const std::uintptr_t, MappedRange>& chunk_of(std::uintptr_t address) {
  return *Space::containing(space().mapped, address);
}

CUresult open_pointer(CUdeviceptr* out, Device& device, const PointerData& data) {
  auto physical = shared_physical({&device, {data.chunk_index, data.chunk_serial}}, SharedAs::pool_chunk);
  if (!physical || data.offset > physical->bytes || data.bytes > physical->bytes - data.offset)
    return CUDA_ERROR_INVALID_VALUE;
  const std::uintptr_t base = map_shared(std::move(physical));
  if (!base) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = base + data.offset;
  space().allocations[*out] = {.bytes = data.bytes,
                               .kind = AllocationKind::pool_import,
                               .context = nullptr,
                               .device = &device,
                               .slab = base,
                               .id = next_allocation_id(),
                               .pool = nullptr};
  return CUDA_SUCCESS;
}

}  // namespace

namespace api {

CUresult cuMemPoolExportToShareableHandle(void* handle_out, CUmemoryPool handle, CUmemAllocationHandleType handleType,
                                          unsigned long long flags) {
  const auto pool = registry<Pool>().find(handle);
  if (!handle_out || !pool || flags != 0 || handleType == CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_INVALID_VALUE;
  if ((pool->properties().handleTypes & handleType) == 0 || pool->imported()) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  if (!pool->share()) return CUDA_ERROR_OUT_OF_MEMORY;
  const int fd = descriptor_of(pool->device(), pool->shared()->share.value());
  if (fd < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  *static_cast<int*>(handle_out) = fd;
  return CUDA_SUCCESS;
}

CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* pool_out, void* handle, CUmemAllocationHandleType handleType,
                                            unsigned long long flags) {
  if (!pool_out || flags != 0 || handleType == CU_MEM_HANDLE_TYPE_NONE) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult failed = check_handle_types(handleType)) return failed;
  const auto found = share_of_descriptor(static_cast<int>(reinterpret_cast<std::intptr_t>(handle)));
  if (!found) return CUDA_ERROR_INVALID_VALUE;
  const std::scoped_lock lock(space().mutex);
  auto physical = shared_physical(*found, SharedAs::pool);
  if (!physical) return CUDA_ERROR_INVALID_VALUE;
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location = physical->properties.location;
  const auto pool = make_pool(*found->device, properties);
  pool->import(std::move(physical));
  *pool_out = reinterpret_cast<CUmemoryPool>(pool.get());
  return CUDA_SUCCESS;
}

CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData* shareData_out, CUdeviceptr ptr) {
  if (!shareData_out) return CUDA_ERROR_INVALID_VALUE;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto found = all.allocations.find(ptr);
  if (found == all.allocations.end() || found->second.kind != AllocationKind::pool) return CUDA_ERROR_INVALID_VALUE;
  const Pool& pool = *found->second.pool;
  if (!pool.shared()) return CUDA_ERROR_INVALID_VALUE;  // the pool itself comes first
  const auto& [base, chunk] = chunk_of(ptr);
  if (!share(*chunk.physical, SharedAs::pool_chunk)) return CUDA_ERROR_OUT_OF_MEMORY;
  const PointerData data{magic,      pool.shared()->share->serial, chunk.physical->share->serial,
                         ptr - base, found->second.bytes,          chunk.physical->share->index};
  *shareData_out = {};
  std::memcpy(shareData_out, &data, sizeof data);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolImportPointer(CUdeviceptr* ptr_out, CUmemoryPool handle, CUmemPoolPtrExportData* shareData) {
  const auto pool = registry<Pool>().find(handle);
  if (!ptr_out || !pool || !shareData) return CUDA_ERROR_INVALID_VALUE;
  PointerData data{};
  std::memcpy(&data, shareData, sizeof data);
  const std::scoped_lock lock(space().mutex);
  const bool of_pool = pool->imported() && data.pool_serial == pool->shared()->share->serial;
  if (data.magic != magic || !of_pool) return CUDA_ERROR_INVALID_VALUE;
  return open_pointer(ptr_out, pool->device(), data);
}

}  // namespace api
}  // namespace lull::sim
