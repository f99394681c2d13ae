// What a copy or fill reaches: whether its rows are there, and the line it leaves in the journal.
#pragma once
#include "tests/driver/copy/copy.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/memory/memory.h"

namespace lull::sim {

inline constexpr auto reading = CU_MEM_ACCESS_FLAGS_PROT_READ;
inline constexpr auto writing = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;

// Only the rows count: between them there may be nothing.
Touch classify_side(const Side& side, std::size_t width, std::size_t height, std::size_t depth,
                    CUmemAccess_flags needed);

// Known at the call: an address no device knows, more bytes than were allocated there, or memory that was freed.
inline bool refused_at_call(Touch touch) {
  return touch == Touch::unknown || touch == Touch::overrun || touch == Touch::idle;
}
// The same, and told to the report if it is so.
bool refused_and_told(const Side& side, std::size_t width, std::size_t height, std::size_t depth,
                      CUmemAccess_flags needed);
// Known when the engine gets there: nothing is mapped, or not for this.
inline bool faults(Touch touch) {
  return touch == Touch::illegal || touch == Touch::overrun || touch == Touch::unknown;
}

void note(const Running& running, Kind kind, Span span, std::uintptr_t address, std::size_t bytes, CUresult result);

}  // namespace lull::sim
