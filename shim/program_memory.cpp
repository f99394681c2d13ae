// The handlers of the program's own virtual memory; what they keep is in mappings.h. What the shim does not manage
// (memory of the host, imported or pinned handles, arrays' tiles) goes to the driver as it is.
#include <cstring>

#include "shim/allocations.h"
#include "shim/environment.h"
#include "shim/gate.h"
#include "shim/handlers.h"
#include "shim/mappings.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::program {
namespace {

bool whole_granules(std::uint64_t value) { return value % ledger::granule == 0; }
bool wraps(CUdeviceptr at, std::uint64_t bytes) { return at + bytes < at; }

// The GPU on which to make managed memory for a cuMemCreate of these arguments; nothing: the driver's business, which
// also has the right error for arguments that make no sense.
std::optional<unsigned> managed_slot(std::size_t bytes, const CUmemAllocationProp* properties,
                                     unsigned long long flags) {
  if (!properties || bytes == 0 || !whole_granules(bytes) || flags != 0) return std::nullopt;
  const bool plain = properties->type == CU_MEM_ALLOCATION_TYPE_PINNED &&
                     properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
                     !(properties->allocFlags.usage & CU_MEM_CREATE_USAGE_TILE_POOL);
  const int device = properties->location.id;
  if (!plain || device < 0 || device >= static_cast<int>(max_gpus)) return std::nullopt;
  if (!on(Protection::virtual_handles) || environment().native || !process::activate()) return std::nullopt;
  const auto slot = static_cast<unsigned>(device);
  if (!process::attached(slot)) process::note_current_context();
  if (!process::attached(slot)) return std::nullopt;  // nothing could be copied without a context there
  return slot;
}

// Only these can be granted without asking the driver.
bool own_device_only(const Mapping& mapping, const CUmemAccessDesc* access, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    const bool own = mapping.physical && access[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
                     access[i].location.id == static_cast<int>(mapping.physical->region->slot);
    const bool known = access[i].flags == CU_MEM_ACCESS_FLAGS_PROT_NONE ||
                       access[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ ||
                       access[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    if (!own || !known) return false;
  }
  return true;
}

bool own_device_only(const Locked& locked, Range range, const CUmemAccessDesc* access, std::size_t count) {
  for (CUdeviceptr here = range.at; here < range.at + range.bytes; here += mappings::at(locked, here)->bytes)
    if (!own_device_only(*mappings::at(locked, here), access, count)) return false;
  return true;
}

}  // namespace

CUresult reserve(CUdeviceptr* at, std::size_t bytes, std::size_t alignment, CUdeviceptr hint,
                 unsigned long long flags) {
  const CUresult result = real::cuMemAddressReserve(at, bytes, alignment, hint, flags);
  if (result == CUDA_SUCCESS && opted_in()) mappings::note_reserved(Locked(ledger::mutex()), {*at, bytes});
  return result;
}

CUresult unreserve(CUdeviceptr at, std::size_t bytes) {
  if (!gate::active_now()) {
    const CUresult result = real::cuMemAddressFree(at, bytes);
    if (result == CUDA_SUCCESS && opted_in()) mappings::note_unreserved(Locked(ledger::mutex()), at);
    return result;
  }
  const Locked locked(ledger::mutex());
  const auto reserved = mappings::reservation_at(locked, at);
  if (reserved && mappings::any_in(locked, *reserved)) return CUDA_ERROR_INVALID_VALUE;  // perhaps absent: unmap first
  const CUresult result = real::cuMemAddressFree(at, bytes);
  if (result == CUDA_SUCCESS) mappings::note_unreserved(locked, at);
  return result;
}

CUresult create(CUmemGenericAllocationHandle* handle, std::size_t bytes, const CUmemAllocationProp* properties,
                unsigned long long flags) {
  const auto slot = handle ? managed_slot(bytes, properties, flags) : std::nullopt;
  if (!slot) return real::cuMemCreate(handle, bytes, properties, flags);
  CUresult result;
  bool missing;
  {
    const Locked locked(ledger::mutex());
    Physical* physical = nullptr;
    result = mappings::create(locked, *slot, bytes, *properties, &physical);
    if (result == CUDA_SUCCESS) *handle = physical->handle();
    missing = gate::holds();
  }
  if (missing) process::kick_link();  // needed > resident is demand
  return result;
}

CUresult release(CUmemGenericAllocationHandle handle) {
  if (!gate::active_now()) return real::cuMemRelease(handle);
  {
    const Locked locked(ledger::mutex());
    Physical* physical = mappings::find(locked, handle);
    if (!physical) return real::cuMemRelease(handle);
    mappings::release(locked, physical);
  }
  process::kick_link();
  process::nudge_mover();  // what was evicted may fit now
  return CUDA_SUCCESS;
}

CUresult map(CUdeviceptr at, std::size_t bytes, std::size_t offset, CUmemGenericAllocationHandle handle,
             unsigned long long flags) {
  if (!gate::active_now()) {
    const CUresult result = real::cuMemMap(at, bytes, offset, handle, flags);
    if (result == CUDA_SUCCESS && opted_in()) mappings::note_native(Locked(ledger::mutex()), {at, bytes});
    return result;
  }
  const Locked locked(ledger::mutex());
  Physical* physical = mappings::find(locked, handle);
  if (bytes == 0 || wraps(at, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (!physical) {
    if (mappings::any_in(locked, {at, bytes}))
      return CUDA_ERROR_INVALID_VALUE;  // perhaps absent: the driver cannot see
    const CUresult result = real::cuMemMap(at, bytes, offset, handle, flags);
    if (result == CUDA_SUCCESS) mappings::note_native(locked, {at, bytes});
    return result;
  }
  if (!whole_granules(bytes) || !whole_granules(at) || offset != 0 || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return mappings::map(locked, physical, {at, bytes});
}

CUresult unmap(CUdeviceptr at, std::size_t bytes) {
  if (!gate::active_now() || bytes == 0 || wraps(at, bytes)) return real::cuMemUnmap(at, bytes);
  {
    const Locked locked(ledger::mutex());
    if (!mappings::any_in(locked, {at, bytes})) return real::cuMemUnmap(at, bytes);
    if (!mappings::whole(locked, {at, bytes})) return CUDA_ERROR_INVALID_VALUE;
    if (const CUresult result = mappings::unmap(locked, {at, bytes}); result != CUDA_SUCCESS) return result;
  }
  process::kick_link();
  process::nudge_mover();
  return CUDA_SUCCESS;
}

CUresult set_access(CUdeviceptr at, std::size_t bytes, const CUmemAccessDesc* access, std::size_t count) {
  if (!gate::active_now() || !access || count == 0 || bytes == 0 || wraps(at, bytes))
    return real::cuMemSetAccess(at, bytes, access, count);
  {
    const Locked locked(ledger::mutex());
    if (!mappings::any_in(locked, {at, bytes})) return real::cuMemSetAccess(at, bytes, access, count);
    if (!mappings::whole(locked, {at, bytes})) return CUDA_ERROR_INVALID_VALUE;
    if (mappings::all_present(locked, {at, bytes}) || own_device_only(locked, {at, bytes}, access, count))
      return mappings::set_access(locked, {at, bytes}, access, count);
  }
  // Peers and the host: the driver has to judge, and for that all of it must be there.
  const gate::Pass inside(nullptr);
  const Locked locked(ledger::mutex());
  if (!mappings::whole(locked, {at, bytes})) return CUDA_ERROR_INVALID_VALUE;
  return mappings::set_access(locked, {at, bytes}, access, count);
}

CUresult get_access(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr at) {
  if (!gate::active_now() || !flags || !location) return real::cuMemGetAccess(flags, location, at);
  const Locked locked(ledger::mutex());
  const Mapping* mapping = mappings::at(locked, at);
  if (!mapping || mappings::all_present(locked, mapping->range())) return real::cuMemGetAccess(flags, location, at);
  int devices = 0;
  const bool device = location->type == CU_MEM_LOCATION_TYPE_DEVICE && real::cuDeviceGetCount(&devices) == CUDA_SUCCESS;
  if (!device || location->id < 0 || location->id >= devices) return CUDA_ERROR_INVALID_VALUE;
  *flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  for (const CUmemAccessDesc& access : mapping->access)
    if (access.location.type == location->type && access.location.id == location->id) *flags = access.flags;
  return CUDA_SUCCESS;
}

// Libraries take success to mean "memory the program made by cuMemCreate" and change their ways; cuMemAlloc memory
// refuses.
CUresult retain_handle(CUmemGenericAllocationHandle* handle, void* address) {
  const auto at = reinterpret_cast<CUdeviceptr>(address);
  if (!gate::active_now() || !handle) return real::cuMemRetainAllocationHandle(handle, address);
  if (allocations::find(at)) return CUDA_ERROR_INVALID_VALUE;
  const Locked locked(ledger::mutex());
  const Mapping* mapping = mappings::at(locked, at);
  if (!mapping || !mapping->physical || !on(Protection::retained_identity))
    return real::cuMemRetainAllocationHandle(handle, address);
  ++mapping->physical->references;
  *handle = mapping->physical->handle();
  return CUDA_SUCCESS;
}

CUresult properties_of(CUmemAllocationProp* properties, CUmemGenericAllocationHandle handle) {
  if (!gate::active_now() || !properties) return real::cuMemGetAllocationPropertiesFromHandle(properties, handle);
  const Locked locked(ledger::mutex());
  const Physical* physical = mappings::find(locked, handle);
  if (!physical) return real::cuMemGetAllocationPropertiesFromHandle(properties, handle);
  *properties = physical->properties;
  return CUDA_SUCCESS;
}

}  // namespace lull::program
