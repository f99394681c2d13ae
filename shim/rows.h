// shim/rows.h: hooks.def as data: which row a name means. No pointers in it, so that it costs a process nothing at
// start.
#pragma once
#include <cstdint>
#include <optional>

namespace lull {

enum class Stream : std::uint8_t { legacy, per_thread };

struct Row {
  char symbol[56];
  std::uint8_t symbol_length;
  std::uint8_t name_length;  // the name asked for is the beginning of the symbol
  Stream stream;
  bool pass;   // handled by nobody: the driver's own address is the answer
  bool gated;  // submits work
  std::uint32_t since;
};

// Rows that answer to one name: [first, last).
struct Rows {
  unsigned first = 0;
  unsigned last = 0;
  bool empty() const { return first == last; }
};

unsigned row_count();
const Row& row_at(unsigned index);

std::optional<unsigned> row_of_symbol(const char* symbol);  // as exported: cuMemAlloc_v2
Rows rows_of_name(const char* name);                        // as asked for: cuMemAlloc

// The documented rule of cuGetProcAddress: the newest row not above `version`, per-thread twins first where asked for.
std::optional<unsigned> newest_of(Rows rows, int version, Stream stream);

}  // namespace lull
