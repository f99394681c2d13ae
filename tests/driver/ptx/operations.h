#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "tests/driver/ptx/types.h"

namespace lull::ptx {

// What the parser knows of a row of operations.def.
struct Operation {
  std::string_view name;
  std::uint16_t number;  // its row
  Type destination;
  std::array<Type, 4> source;  // none = the operation has no such operand
};

// Null if no row has this name.
const Operation* operation_named(std::string_view name);

// Whether any row is a form of this instruction: "add" for "add.rz.f32".
bool is_known_instruction(std::string_view base);

}  // namespace lull::ptx
