#pragma once

// What a lane operation sees of the gang that executes it, and the table of lane operations.
//
// The loops over lanes are compiled once for every instruction set of lanes.cpp (see meson.build); handlers() picks
// the best one this machine has. All give the same bits.

#include <cstddef>
#include <cstdint>

#include "tests/driver/ptx/program.h"
#include "tests/driver/ptx/ptx.h"

namespace lull::ptx {

struct Frame {
  std::byte* rows = nullptr;
  // The active lanes: `count` from `first` on, or, if list is not null, the `count` lanes it names.
  const std::uint16_t* list = nullptr;
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::byte* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::byte* local = nullptr;  // of lane 0; the next lane's follows
  std::size_t local_bytes = 0;
  const std::byte* parameters = nullptr;
  Outcome fault = Outcome::ok;  // set by an operation that cannot be carried out
};

using Handler = void (*)(Frame&, const Instruction&);

// One handler for each row of operations.def.
const Handler* handlers();

}  // namespace lull::ptx
