#include "shim/environment.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/ledger.h"
#include "shim/process.h"
#include "shim/sizes.h"

namespace lull::info {
namespace {

template <class T>
CUresult answer(void* data, T value) {
  *static_cast<T*>(data) = value;
  return CUDA_SUCCESS;
}

// What the driver would say of cuMemAlloc memory, from our own table: the driver sees chunks and reservations, and
// while the memory is evicted it sees nothing.
std::optional<CUresult> own_attribute(const ledger::Allocation& a, void* data, CUpointer_attribute attribute,
                                      CUdeviceptr at) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: return answer(data, a.context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: return answer(data, static_cast<unsigned>(CU_MEMORYTYPE_DEVICE));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return answer(data, at);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER: return CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: return answer(data, static_cast<unsigned long long>(a.id));
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: return answer(data, 0u);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return answer(data, static_cast<int>(a.region->slot));
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: return answer(data, 0);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: return answer(data, a.base);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: return answer(data, static_cast<std::size_t>(a.bytes));
    case CU_POINTER_ATTRIBUTE_MAPPED: return answer(data, 1);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: return answer(data, std::uint64_t{0});
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: return answer(data, static_cast<CUmemoryPool>(nullptr));
    default: return std::nullopt;
  }
}

}  // namespace

CUresult get_info(std::size_t* free, std::size_t* total) {
  const CUresult result = real::cuMemGetInfo_v2(free, total);
  if (result != CUDA_SUCCESS || environment().native || !process::activate()) return result;
  const auto slot = process::slot_of_current();
  if (!slot) return result;
  const std::uint64_t promised = sizes::total(*slot), used = ledger::sizes(*slot).needed;
  if (total) *total = promised;
  if (free) *free = promised > used ? promised - used : 0;
  return result;
}

CUresult total_mem(std::size_t* bytes, CUdevice device) {
  const CUresult result = real::cuDeviceTotalMem_v2(bytes, device);
  if (result != CUDA_SUCCESS || !opted_in() || device < 0 || device >= static_cast<int>(max_gpus)) return result;
  if (const std::uint64_t promised = sizes::total(static_cast<unsigned>(device))) *bytes = promised;
  return result;
}

CUresult address_range(CUdeviceptr* base, std::size_t* bytes, CUdeviceptr inside) {
  const auto allocation = gate::active_now() ? ledger::find(inside) : std::nullopt;
  if (!allocation) return real::cuMemGetAddressRange_v2(base, bytes, inside);
  if (base) *base = allocation->base;
  if (bytes) *bytes = allocation->bytes;
  return CUDA_SUCCESS;
}

CUresult pointer_attribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  const auto allocation = gate::active_now() && data ? ledger::find(pointer) : std::nullopt;
  if (allocation)
    if (const auto result = own_attribute(*allocation, data, attribute, pointer)) return *result;
  return real::cuPointerGetAttribute(data, attribute, pointer);
}

CUresult pointer_attributes(unsigned count, CUpointer_attribute* attributes, void** data, CUdeviceptr pointer) {
  const auto allocation = gate::active_now() && attributes && data ? ledger::find(pointer) : std::nullopt;
  if (!allocation) return real::cuPointerGetAttributes(count, attributes, data, pointer);
  // The driver's own answers first, for what we do not know; ours over them. It reports absent facts as success and
  // zero.
  (void)real::cuPointerGetAttributes(count, attributes, data, pointer);
  for (unsigned i = 0; i < count; ++i)
    if (data[i]) {
      const auto result = own_attribute(*allocation, data[i], attributes[i], pointer);
      if (result && *result != CUDA_SUCCESS) *static_cast<void**>(data[i]) = nullptr;
    }
  return CUDA_SUCCESS;
}

}  // namespace lull::info
