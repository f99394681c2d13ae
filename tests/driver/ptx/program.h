#pragma once

// The decoded form of a kernel, between parser and interpreter.
//
// A gang of up to kLanes threads of a block executes an instruction together. Every register is a row: one element for
// each lane, so an operation is a loop over three rows. Immediates and special registers are rows too, filled before
// the gang starts; operands are byte offsets of rows and nothing has to be told apart while running.

#include <array>
#include <cstdint>
#include <vector>

#include "tests/driver/ptx/types.h"

namespace lull::ptx {

inline constexpr unsigned kLanes = 128;  // threads of a gang; whole warps

enum class Control : std::uint8_t {
  none,
  branch,
  exit,
  barrier,
  trap,
  meet,  // waits for the living lanes of the warp that the mask in row 0 names
};

struct Instruction {
  std::uint16_t operation = 0;      // index into operations.def, if control is none
  Control control = Control::none;  // who executes it: a lane operation or the gang itself
  std::uint8_t weight = 1;          // 0: a step the parser added, not an instruction of the text
  bool guarded = false;
  bool negated = false;                // @!p
  std::uint8_t barrier = 0;            // its number
  std::uint32_t guard = 0;             // row of the predicate
  std::array<std::uint32_t, 5> row{};  // destination first; loads and stores: up to four words, then the address
  std::int64_t immediate = 0;          // address offset, or the threads a barrier waits for (0 = all)
  std::uint32_t target = 0;            // of a branch
};

// A row that holds one value in every lane.
struct ConstantRow {
  std::uint32_t row = 0;
  std::uint32_t bytes = 0;  // of an element
  std::uint64_t value = 0;
  std::int32_t variable = -1;  // add the address of this module variable
};

// tid first: its values count the dimensions.
enum class Special : std::uint8_t {
  tid_x,
  tid_y,
  tid_z,
  ntid_x,
  ntid_y,
  ntid_z,
  ctaid_x,
  ctaid_y,
  ctaid_z,
  nctaid_x,
  nctaid_y,
  nctaid_z,
  laneid,
  warpid,
  nwarpid,
  smid,
  nsmid,
  lanemask_eq,
  lanemask_le,
  lanemask_lt,
  lanemask_ge,
  lanemask_gt,
};

struct SpecialRow {
  std::uint32_t row = 0;
  Special special = Special::tid_x;
};

struct Program {
  std::vector<Instruction> code;  // ends with an unguarded exit
  std::uint32_t row_bytes = 0;    // all rows of a gang
  std::vector<ConstantRow> constants;
  std::vector<SpecialRow> specials;  // 32-bit rows
  bool uses_barriers = false;
};

}  // namespace lull::ptx
