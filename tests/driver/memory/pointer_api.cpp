// cuPointerGetAttribute(s). For mapped memory RANGE_START and RANGE_SIZE tell the reservation, MAPPING_BASE and _SIZE
// the mapping, and MAPPED whether there is physical memory at this address now; for allocations all tell the
// allocation.
#include <algorithm>
#include <cstring>
#include <optional>

#include "tests/driver/memory/memory.h"
#include "tests/driver/memory/pool.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct Range {
  std::uintptr_t start = 0;
  std::size_t bytes = 0;
};

struct Pointed {
  CUmemorytype type = CU_MEMORYTYPE_DEVICE;
  Context* context = nullptr;
  int ordinal = 0;
  Range range, mapping;
  bool mapped = true, managed = false, legacy_ipc = false, sync_memops = false;
  std::uint64_t id = 0, block = 0;
  int handle_types = 0, access = CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
  Pool* pool = nullptr;
};

Pointed of_allocation(std::uintptr_t base, const Allocation& a) {
  Pointed p;
  p.context = a.context;
  p.ordinal = a.device->ordinal;
  p.range = p.mapping = {base, a.bytes};
  p.managed = a.kind == AllocationKind::managed;
  p.legacy_ipc = a.kind == AllocationKind::device;
  p.sync_memops = a.sync_memops;
  p.id = a.id;
  const auto behind = Space::containing(space().mapped, base);
  if (behind != space().mapped.end()) p.block = behind->second.physical->id;
  p.pool = a.pool;
  if (a.pool) p.handle_types = a.pool->properties().handleTypes;
  return p;
}

Pointed of_host(std::uintptr_t base, const HostRange& host) {
  Pointed p;
  p.type = CU_MEMORYTYPE_HOST;
  p.context = host.context;
  p.ordinal = host.context->device().ordinal;
  p.range = p.mapping = {base, host.bytes};
  p.id = p.block = host.id;
  return p;
}

Pointed of_reservation(std::uintptr_t base, const Reservation& reservation, std::uintptr_t address) {
  Pointed p;
  p.range = {base, reservation.bytes};
  p.sync_memops = reservation.sync_memops;
  p.id = reservation.id;
  const auto range = Space::containing(space().mapped, address);
  p.mapped = range != space().mapped.end();
  p.access = CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE;
  if (!p.mapped) return p;
  const Physical& physical = *range->second.physical;
  p.ordinal = physical.device.ordinal;
  p.mapping = {range->first, range->second.bytes};
  p.block = physical.id;
  p.handle_types = physical.properties.requestedHandleTypes;
  p.access = static_cast<int>(range->second.access);  // the two enumerations agree
  return p;
}

// Locked.
std::optional<Pointed> look_up(std::uintptr_t address) {
  Space& all = space();
  if (const auto own = Space::containing(all.allocations, address); own != all.allocations.end())
    return of_allocation(own->first, own->second);
  if (const auto host = Space::containing(all.host, address); host != all.host.end())
    return of_host(host->first, host->second);
  const auto reserved = Space::containing(all.reservations, address);
  if (reserved == all.reservations.end() || reserved->second.holds != Holds::program) return {};
  return of_reservation(reserved->first, reserved->second, address);
}

std::optional<Pointed> find(std::uintptr_t address) {
  const std::scoped_lock lock(space().mutex);
  return look_up(address);
}

template <class T>
CUresult answer(void* data, T value) {
  std::memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult attribute_of(const Pointed& p, void* data, CUpointer_attribute attribute, std::uintptr_t address) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: return p.context ? answer(data, p.context) : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: return answer<unsigned>(data, p.type);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return answer<CUdeviceptr>(data, address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER: {
      const bool on_host = p.type == CU_MEMORYTYPE_HOST || p.managed;
      return on_host ? answer(data, reinterpret_cast<void*>(address)) : CUDA_ERROR_INVALID_VALUE;
    }
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: return answer<unsigned>(data, p.sync_memops);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: return answer<unsigned long long>(data, p.id);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: return answer<unsigned>(data, p.managed);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return answer<int>(data, p.ordinal);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: return answer<int>(data, p.legacy_ipc);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: return answer<CUdeviceptr>(data, p.range.start);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: return answer<std::size_t>(data, p.range.bytes);
    case CU_POINTER_ATTRIBUTE_MAPPED: return answer<int>(data, p.mapped);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: return answer<int>(data, p.handle_types);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: return answer<int>(data, p.access);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: return answer(data, reinterpret_cast<CUmemoryPool>(p.pool));
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE: return answer<std::size_t>(data, p.mapping.bytes);
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR: return answer<CUdeviceptr>(data, p.mapping.start);
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID: return answer<unsigned long long>(data, p.block);
    // Not offered, as the device attributes tell: no kernel module and no decompression engine.
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE: return answer<int>(data, 0);
    case CU_POINTER_ATTRIBUTE_P2P_TOKENS: return CUDA_ERROR_NOT_SUPPORTED;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
}

bool wide(CUpointer_attribute attribute) {
  constexpr CUpointer_attribute all[] = {CU_POINTER_ATTRIBUTE_CONTEXT,           CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                         CU_POINTER_ATTRIBUTE_HOST_POINTER,      CU_POINTER_ATTRIBUTE_BUFFER_ID,
                                         CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,  CU_POINTER_ATTRIBUTE_RANGE_SIZE,
                                         CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE,    CU_POINTER_ATTRIBUTE_MAPPING_SIZE,
                                         CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR, CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID};
  return std::ranges::find(all, attribute) != std::end(all);
}

}  // namespace

bool sync_memops(std::uintptr_t address) {
  const auto pointed = find(address);
  return pointed && pointed->sync_memops;
}

namespace api {

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (!data) return CUDA_ERROR_INVALID_VALUE;
  if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER && !current_handle()) return CUDA_ERROR_INVALID_CONTEXT;
  const auto pointed = find(ptr);
  return pointed ? attribute_of(*pointed, data, attribute, ptr) : CUDA_ERROR_INVALID_VALUE;
}

// Unlike the single form it succeeds for memory it does not know, with zeros, and an ordinal of -2.
CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** data, CUdeviceptr ptr) {
  if (!attributes || !data) return CUDA_ERROR_INVALID_VALUE;
  const auto pointed = find(ptr);
  for (unsigned i = 0; i < count; ++i) {
    if (!data[i]) return CUDA_ERROR_INVALID_VALUE;
    if (pointed && attribute_of(*pointed, data[i], attributes[i], ptr) == CUDA_SUCCESS) continue;
    const int ordinal = attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL && !pointed ? -2 : 0;
    (void)(wide(attributes[i]) ? answer<std::uint64_t>(data[i], 0) : answer<int>(data[i], ordinal));
  }
  return CUDA_SUCCESS;
}

CUresult cuPointerSetAttribute(const void* value, CUpointer_attribute attribute, CUdeviceptr ptr) {
  const Found context = current_context();
  if (!context) return context.error;
  if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS) return CUDA_ERROR_INVALID_VALUE;
  const bool on = *static_cast<const unsigned*>(value) != 0;
  Space& all = space();
  {
    const std::scoped_lock lock(all.mutex);
    const auto own = Space::containing(all.allocations, ptr);
    const auto reserved = Space::containing(all.reservations, ptr);
    if (own != all.allocations.end())
      own->second.sync_memops = on;
    else if (reserved != all.reservations.end() && reserved->second.holds == Holds::program)
      reserved->second.sync_memops = on;
    else
      return CUDA_ERROR_INVALID_VALUE;
  }
  // What was begun before is over when this returns.
  return on ? context->synchronize() : CUDA_SUCCESS;
}

CUresult cuFlushGPUDirectRDMAWrites(CUflushGPUDirectRDMAWritesTarget target, CUflushGPUDirectRDMAWritesScope scope) {
  const Found context = current_context();
  if (!context) return context.error;
  const bool known_scope =
      scope == CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER || scope == CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_ALL_DEVICES;
  if (target != CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX || !known_scope) return CUDA_ERROR_INVALID_VALUE;
  return CUDA_ERROR_NOT_SUPPORTED;  // as GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS tells
}

}  // namespace api
}  // namespace lull::sim
