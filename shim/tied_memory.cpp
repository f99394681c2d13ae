// Calls that give memory an identity outside of this process, or tie other hardware to it. They are made from inside
// the gate, where all of the memory is there; what they succeed with stays where it is from then on.
#include "shim/allocations.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/mappings.h"
#include "shim/protection.h"

namespace lull::program {
namespace {

using ledger::Region;

CUresult pin_on_success(const Locked& locked, CUresult result, Region* region) {
  if (result != CUDA_SUCCESS || !on(Protection::export_pins)) return result;
  (void)ledger::pin(locked, region);  // it is all there
  ledger::changed(locked, region->slot);
  return result;
}

// Of cuMemAlloc or of the program's own; null: the driver's.
Region* region_at(const Locked& locked, CUdeviceptr at) {
  if (Region* region = allocations::region_of(locked, at)) return region;
  const Mapping* mapping = mappings::at(locked, at);
  return mapping && mapping->physical ? mapping->physical->region : nullptr;
}

bool managed_handle(CUmemGenericAllocationHandle handle) {
  return gate::active_now() && mappings::find(Locked(ledger::mutex()), handle);
}

bool managed_address(CUdeviceptr at) {
  if (!gate::active_now()) return false;
  const Locked locked(ledger::mutex());
  const Mapping* mapping = mappings::at(locked, at);
  return mapping && mapping->physical;
}

template <class Call>
CUresult with_handle(CUmemGenericAllocationHandle handle, Call call) {
  if (!managed_handle(handle)) return call(handle);
  const gate::Pass inside(nullptr);
  const Locked locked(ledger::mutex());
  Physical* physical = mappings::find(locked, handle);
  if (!physical) return CUDA_ERROR_INVALID_VALUE;
  // Several handles of the driver's stand for one that was made to be neither exported nor bound.
  if (physical->region->chunks.size() != 1) return CUDA_ERROR_NOT_SUPPORTED;
  return pin_on_success(locked, call(physical->region->chunks[0]->handle), physical->region);
}

template <class Call>
CUresult with_addresses(Range range, Call call) {
  if (gate::active_now() && allocations::find(range.at)) return CUDA_ERROR_NOT_SUPPORTED;  // memory of cuMemAlloc moves
  if (!managed_address(range.at)) return call();
  const gate::Pass inside(nullptr);
  const Locked locked(ledger::mutex());
  const CUresult result = call();
  for (CUdeviceptr here = range.at; here < range.at + range.bytes;) {
    const Mapping* mapping = mappings::at(locked, here);
    if (!mapping) break;
    if (mapping->physical) (void)pin_on_success(locked, result, mapping->physical->region);
    here = mapping->at + mapping->bytes;
  }
  return result;
}

// Says something of memory that is there; pins it if that ties it.
template <class Call>
CUresult with_pointer(CUdeviceptr pointer, bool ties, Call call) {
  if (!gate::active_now() || !region_at(Locked(ledger::mutex()), pointer)) return call();
  const gate::Pass inside(nullptr);
  const Locked locked(ledger::mutex());
  const CUresult result = call();
  Region* region = region_at(locked, pointer);
  return ties && region ? pin_on_success(locked, result, region) : result;
}

}  // namespace

CUresult export_handle(void* shareable, CUmemGenericAllocationHandle handle, CUmemAllocationHandleType type,
                       unsigned long long flags) {
  return with_handle(handle, [&](CUmemGenericAllocationHandle own) {
    return real::cuMemExportToShareableHandle(shareable, own, type, flags);
  });
}

CUresult bind_multicast(CUmemGenericAllocationHandle multicast, std::size_t multicast_offset,
                        CUmemGenericAllocationHandle handle, std::size_t offset, std::size_t bytes,
                        unsigned long long flags) {
  return with_handle(handle, [&](CUmemGenericAllocationHandle own) {
    return real::cuMulticastBindMem(multicast, multicast_offset, own, offset, bytes, flags);
  });
}

CUresult bind_multicast_address(CUmemGenericAllocationHandle multicast, std::size_t multicast_offset, CUdeviceptr at,
                                std::size_t bytes, unsigned long long flags) {
  return with_addresses({at, bytes},
                        [&] { return real::cuMulticastBindAddr(multicast, multicast_offset, at, bytes, flags); });
}

CUresult handle_for_range(void* handle, CUdeviceptr at, std::size_t bytes, CUmemRangeHandleType type,
                          unsigned long long flags) {
  return with_addresses({at, bytes},
                        [&] { return real::cuMemGetHandleForAddressRange(handle, at, bytes, type, flags); });
}

// What a program sets on memory that it is about to register with other hardware, as GPUDirect RDMA asks it to. The
// registration itself is between the driver's kernel module and another one.
CUresult set_pointer_attribute(const void* value, CUpointer_attribute attribute, CUdeviceptr pointer) {
  const bool ties = attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS && value && *static_cast<const unsigned*>(value);
  return with_pointer(pointer, ties, [&] { return real::cuPointerSetAttribute(value, attribute, pointer); });
}

CUresult peer_tokens(void* tokens, CUdeviceptr pointer) {
  return with_pointer(pointer, true,
                      [&] { return real::cuPointerGetAttribute(tokens, CU_POINTER_ATTRIBUTE_P2P_TOKENS, pointer); });
}

}  // namespace lull::program
