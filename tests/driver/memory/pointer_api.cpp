// cuPointerGetAttribute(s). For mapped memory RANGE_START and RANGE_SIZE tell the reservation, and MAPPED whether there
// is physical memory at this address now; for allocations they tell the allocation.
#include <cstring>

#include "tests/driver/memory/memory.h"
#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct Pointed {
  bool known = false;
  CUmemorytype type = CU_MEMORYTYPE_DEVICE;
  Context* context = nullptr;
  int ordinal = -2;
  std::uintptr_t start = 0;
  std::size_t bytes = 0;
  bool mapped = true, managed = false, legacy_ipc = false;
  std::uint64_t id = 0;
  Pool* pool = nullptr;
};

Pointed look_up(std::uintptr_t address) {
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  if (const auto own = Space::containing(all.allocations, address); own != all.allocations.end()) {
    const Allocation& a = own->second;
    const bool managed = a.kind == AllocationKind::managed;
    return {true,
            CU_MEMORYTYPE_DEVICE,
            a.context,
            a.device->ordinal,
            own->first,
            a.bytes,
            true,
            managed,
            a.kind == AllocationKind::device,
            a.id,
            a.pool};
  }
  if (const auto host = Space::containing(all.host, address); host != all.host.end()) {
    return {true,  CU_MEMORYTYPE_HOST, host->second.context, 0, host->first, host->second.bytes, true, false,
            false, host->first};
  }
  const auto reserved = Space::containing(all.reservations, address);
  if (reserved == all.reservations.end() || reserved->second.holds != Holds::program) return {};
  const auto range = Space::containing(all.mapped, address);
  const bool mapped = range != all.mapped.end();
  return {true,
          CU_MEMORYTYPE_DEVICE,
          nullptr,
          mapped ? range->second.physical->device.ordinal : 0,
          reserved->first,
          reserved->second.bytes,
          mapped,
          false,
          false,
          reserved->first};
}

template <class T>
CUresult answer(void* data, T value) {
  std::memcpy(data, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult attribute_of(const Pointed& p, void* data, CUpointer_attribute attribute, std::uintptr_t address) {
  const bool device = p.type == CU_MEMORYTYPE_DEVICE;
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: return p.context ? answer(data, p.context) : CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: return answer<unsigned>(data, p.type);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return answer<CUdeviceptr>(data, address);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return device && !p.managed ? CUDA_ERROR_INVALID_VALUE : answer(data, reinterpret_cast<void*>(address));
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: return answer<unsigned>(data, 0);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: return answer<unsigned long long>(data, p.id);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: return answer<unsigned>(data, p.managed);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return answer<int>(data, p.ordinal);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: return answer<int>(data, p.legacy_ipc);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: return answer<CUdeviceptr>(data, p.start);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: return answer<std::size_t>(data, p.bytes);
    case CU_POINTER_ATTRIBUTE_MAPPED: return answer<int>(data, p.mapped);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: return answer<int>(data, 0);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE: return answer<int>(data, 0);
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: return answer<int>(data, CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: return answer(data, reinterpret_cast<CUmemoryPool>(p.pool));
    default: return CUDA_ERROR_NOT_SUPPORTED;
  }
}

}  // namespace

namespace api {

CUresult cuPointerGetAttribute(void* data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  if (!data) return CUDA_ERROR_INVALID_VALUE;
  const Pointed pointed = look_up(ptr);
  return pointed.known ? attribute_of(pointed, data, attribute, ptr) : CUDA_ERROR_INVALID_VALUE;
}

// Unlike the single form it succeeds for memory it does not know, with zeros, and an ordinal of -2.
CUresult cuPointerGetAttributes(unsigned count, CUpointer_attribute* attributes, void** data, CUdeviceptr ptr) {
  if (!attributes || !data) return CUDA_ERROR_INVALID_VALUE;
  const Pointed pointed = look_up(ptr);
  for (unsigned i = 0; i < count; ++i) {
    if (!data[i]) return CUDA_ERROR_INVALID_VALUE;
    if (pointed.known && attribute_of(pointed, data[i], attributes[i], ptr) == CUDA_SUCCESS) continue;
    const bool wide =
        attributes[i] == CU_POINTER_ATTRIBUTE_CONTEXT || attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_POINTER ||
        attributes[i] == CU_POINTER_ATTRIBUTE_HOST_POINTER || attributes[i] == CU_POINTER_ATTRIBUTE_BUFFER_ID ||
        attributes[i] == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR || attributes[i] == CU_POINTER_ATTRIBUTE_RANGE_SIZE ||
        attributes[i] == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE;
    const int ordinal = attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL && !pointed.known ? -2 : 0;
    (void)(wide ? answer<std::uint64_t>(data[i], 0) : answer<int>(data[i], ordinal));
  }
  return CUDA_SUCCESS;
}

}  // namespace api
}  // namespace lull::sim
