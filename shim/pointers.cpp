#include "shim/pointers.h"

#include "shim/ledger.h"
#include "shim/mappings.h"

namespace lull::pointers {
namespace {

// The two enumerations agree.
int access_of(const Mapping& mapping) {
  for (const CUmemAccessDesc& access : mapping.access)
    if (access.location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
        access.location.id == mapping.physical->properties.location.id)
      return static_cast<int>(access.flags);
  return static_cast<int>(CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE);
}

std::optional<Mapped> find_mapped(const Locked& locked, CUdeviceptr inside) {
  const Mapping* mapping = mappings::at(locked, inside);
  if (!mapping || !mapping->physical) return std::nullopt;
  const Physical& physical = *mapping->physical;
  const auto reservation = mappings::reservation_at(locked, mapping->at);
  return Mapped{mapping->at,
                mapping->bytes,
                physical.properties.location.id,
                static_cast<std::uint64_t>(physical.properties.requestedHandleTypes),
                physical.id,
                reservation.value_or(mapping->range()),
                access_of(*mapping),
                physical.properties.allocFlags.gpuDirectRDMACapable != 0,
                (physical.properties.allocFlags.usage & CU_MEM_CREATE_USAGE_HW_DECOMPRESS) != 0,
                physical.region->pinned};
}

struct Answer {
  std::uint64_t turns;  // of the ledger's lock when it was found; 0: none
  Range range;          // for which it holds
  Known known;
};
constexpr unsigned kept = 16;
__thread Answer answers[kept] = {};
__thread unsigned oldest = 0;

Range range_of(const Known& known, CUdeviceptr pointer) {
  if (known.allocation) return {known.allocation->base, known.allocation->bytes};
  if (known.mapping) return {known.mapping->at, known.mapping->bytes};
  return {pointer, 1};
}

// A handler that asks in the middle finds no answer here, rather than half of one.
void keep(std::uint64_t turns, CUdeviceptr pointer, const Known& known) {
  Answer& answer = answers[oldest];
  oldest = (oldest + 1) % kept;
  answer.turns = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  answer.range = range_of(known, pointer);
  answer.known = known;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  answer.turns = turns;
}

}  // namespace

Known look_up(CUdeviceptr pointer) {
  const std::uint64_t turns = ledger::mutex().turns();
  for (const Answer& answer : answers)
    if (answer.turns == turns && pointer - answer.range.at < answer.range.bytes) return answer.known;
  Known known;
  std::uint64_t found_at;
  {
    const Locked locked(ledger::mutex(), Locked::to_look);
    found_at = ledger::mutex().turns();
    known.allocation = allocations::find(locked, pointer);
    if (!known.allocation) known.mapping = find_mapped(locked, pointer);
  }
  keep(found_at, pointer, known);
  return known;
}

}  // namespace lull::pointers
