#include "shim/deferred.h"
#include "shim/environment.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/ledger.h"
#include "shim/pointers.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/sizes.h"
#include "shim/vmm.h"

namespace lull::info {
namespace {

using pointers::Known;
using pointers::look_up;
using pointers::Mapped;

template <class T>
CUresult answer(void* data, T value) {
  *static_cast<T*>(data) = value;
  return CUDA_SUCCESS;
}

// Who sets it pins the memory (tied_memory.cpp), of which the driver then knows more.
std::optional<CUresult> sync_memops(bool pinned, void* data) {
  return pinned ? std::nullopt : std::optional(answer(data, 0u));
}

// What the driver would say of cuMemAlloc memory, from our own table: the driver sees chunks and reservations, and
// while the memory is evicted it sees nothing.
std::optional<CUresult> own_attribute(const allocations::Allocation& a, void* data, CUpointer_attribute attribute,
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
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR: return answer(data, a.base);
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE: return answer(data, static_cast<std::size_t>(a.bytes));
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID: return answer(data, static_cast<unsigned long long>(a.id));
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
      return answer(data, static_cast<int>(CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE));
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE: return answer(data, int{vmm::rdma_capable(a.region->slot)});
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE: return answer(data, 0);
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: return sync_memops(a.region->pinned, data);
    default: return std::nullopt;
  }
}

// As the driver would say it of memory that is there. Its range is the reservation.
std::optional<CUresult> own_attribute(const Mapped& m, void* data, CUpointer_attribute attribute, CUdeviceptr at) {
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: return answer(data, static_cast<unsigned>(CU_MEMORYTYPE_DEVICE));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: return answer(data, at);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER: return CUDA_ERROR_INVALID_VALUE;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: return answer(data, 0u);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: return answer(data, 0);
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE: return answer(data, static_cast<CUmemoryPool>(nullptr));
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: return answer(data, static_cast<CUdeviceptr>(m.reservation.at));
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: return answer(data, static_cast<std::size_t>(m.reservation.bytes));
    case CU_POINTER_ATTRIBUTE_MAPPED: return answer(data, 1);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: return answer(data, m.device);
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES: return answer(data, m.handle_types);
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR: return answer(data, m.at);
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE: return answer(data, static_cast<std::size_t>(m.bytes));
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID: return answer(data, static_cast<unsigned long long>(m.id));
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS: return answer(data, m.access);
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE: return answer(data, int{m.rdma_capable});
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE: return answer(data, int{m.decompress_capable});
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS: return sync_memops(m.pinned, data);
    default: return std::nullopt;
  }
}

std::optional<CUresult> answer_of(const Known& known, void* data, CUpointer_attribute attribute, CUdeviceptr at) {
  if (known.allocation) return own_attribute(*known.allocation, data, attribute, at);
  return known.mapping ? own_attribute(*known.mapping, data, attribute, at) : std::nullopt;
}

}  // namespace

CUresult get_info(std::size_t* free, std::size_t* total) {
  const CUresult result = real::cuMemGetInfo_v2(free, total);
  if (result != CUDA_SUCCESS || environment().native || !process::activate()) return result;
  const auto slot = process::slot_of_current();
  if (!slot || !on(Protection::promised_sizes)) return result;
  (void)deferred::give_back_finished();
  ledger::count_native(*slot);
  const auto held = ledger::sizes(*slot);
  const std::uint64_t promised = sizes::total(*slot), used = held.needed + held.pinned + held.native;
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
  const Known known = gate::active_now() ? look_up(inside) : Known{};
  if (!known) return real::cuMemGetAddressRange_v2(base, bytes, inside);
  if (base) *base = known.allocation ? known.allocation->base : known.mapping->at;
  if (bytes) *bytes = known.allocation ? known.allocation->bytes : known.mapping->bytes;
  return CUDA_SUCCESS;
}

CUresult pointer_attribute(void* data, CUpointer_attribute attribute, CUdeviceptr pointer) {
  const Known known = gate::active_now() && data ? look_up(pointer) : Known{};
  if (known && attribute == CU_POINTER_ATTRIBUTE_P2P_TOKENS) return program::peer_tokens(data, pointer);
  const auto result = answer_of(known, data, attribute, pointer);
  return result ? *result : real::cuPointerGetAttribute(data, attribute, pointer);
}

CUresult pointer_attributes(unsigned count, CUpointer_attribute* attributes, void** data, CUdeviceptr pointer) {
  const Known known = gate::active_now() && attributes && data ? look_up(pointer) : Known{};
  // The driver's own answers first, for what we do not know; ours over them. It reports absent facts as success and
  // zero.
  const CUresult driver = real::cuPointerGetAttributes(count, attributes, data, pointer);
  if (!known) return driver;
  for (unsigned i = 0; i < count; ++i)
    if (data[i]) {
      const auto result = answer_of(known, data[i], attributes[i], pointer);
      if (result && *result != CUDA_SUCCESS) *static_cast<void**>(data[i]) = nullptr;
    }
  return CUDA_SUCCESS;
}

}  // namespace lull::info
