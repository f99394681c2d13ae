#include "shim/pieces.h"

#include <optional>

#include "shim/allocations.h"
#include "shim/ledger.h"
#include "shim/mappings.h"
#include "shim/process.h"
#include "shim/protection.h"

namespace lull::pieces {
namespace {

bool lies_in(Range part, Range whole) {
  return part.at >= whole.at && part.at - whole.at <= whole.bytes && part.bytes <= whole.bytes - (part.at - whole.at);
}

template <class T>
std::optional<T> ask(CUpointer_attribute attribute, CUdeviceptr at) {
  T value{};
  return real::cuPointerGetAttribute(&value, attribute, at) == CUDA_SUCCESS ? std::optional(value) : std::nullopt;
}

// Whose memory an address is. Pageable memory of the host is what the driver does not know.
enum class Owner { device, locked_host, host };

Owner owner_of(CUdeviceptr at) {
  if (allocations::find(at)) return Owner::device;
  {
    const Locked locked(ledger::mutex());
    if (mappings::at(locked, at)) return Owner::device;
  }
  const auto type = ask<unsigned>(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at);
  if (!type) return Owner::host;
  return *type == CU_MEMORYTYPE_HOST ? Owner::locked_host : Owner::device;
}

// In one allocation, or mapped from end to end. What others than the shim have made the driver tells.
bool is_whole_on_device(Range range) {
  if (const auto allocation = allocations::find(range.at)) return lies_in(range, {allocation->base, allocation->bytes});
  {
    const Locked locked(ledger::mutex());
    if (mappings::at(locked, range.at)) return mappings::alike(locked, range);
  }
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  return real::cuMemGetAddressRange_v2(&base, &bytes, range.at) == CUDA_SUCCESS && lies_in(range, {base, bytes});
}

bool is_locked(Range range) {
  const auto start = ask<CUdeviceptr>(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, range.at);
  const auto bytes = ask<std::size_t>(CU_POINTER_ATTRIBUTE_RANGE_SIZE, range.at);
  return start && bytes && lies_in(range, {*start, *bytes});
}

// Page-locked from end to end, or at neither end: the driver refuses what is both.
bool is_whole_on_host(Range range) {
  switch (owner_of(range.at)) {
    case Owner::device: return false;
    case Owner::locked_host: return is_locked(range);
    case Owner::host: return owner_of(range.at + range.bytes - 1) == Owner::host;
  }
  return false;
}

Route resolved(const Copy& copy, Route route) {
  if (route != Route::by_address) return route;
  const bool to_device = owner_of(copy.to) == Owner::device, from_device = owner_of(copy.from) == Owner::device;
  if (to_device == from_device) return Route::by_address;  // a device's memory is quick, and the host's is no matter
  return to_device ? Route::to_device : Route::to_host;
}

}  // namespace

bool is_allowed(const Copy& copy, Route asked) {
  if (!gate::active_now() || process::captures_open() > 0 || !on(Protection::split_copies)) return false;
  if (copy.to + copy.bytes < copy.to || copy.from + copy.bytes < copy.from) return false;
  const Range to{copy.to, copy.bytes}, from{copy.from, copy.bytes};
  switch (resolved(copy, asked)) {
    case Route::to_device: return is_whole_on_device(to) && is_whole_on_host(from);
    case Route::to_host: return is_whole_on_device(from) && is_whole_on_host(to);
    case Route::by_address: break;
  }
  return false;
}

}  // namespace lull::pieces
