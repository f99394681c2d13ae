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
  call,
  ret,   // from a function
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
  std::int64_t immediate = 0;  // address offset, the threads a barrier waits for (0 = all), or the number of a call
  std::uint32_t target = 0;    // of a branch or call
};

// A row that holds one value in every lane.
struct ConstantRow {
  std::uint32_t row = 0;
  std::uint32_t bytes = 0;  // of an element
  std::uint64_t value = 0;
  std::int32_t variable = -1;  // add the address of this module variable
  std::int32_t shared = -1;    // before the link: add the place of this shared variable of the fragment
};

struct SavedRow {
  std::uint32_t row = 0;
  std::uint32_t bytes = 0;  // of an element
};

// A call instruction. `saved` is empty unless the callee may come back to the calling function: then its registers are
// put aside until the call returns.
struct Call {
  std::uint32_t returns_to = 0;
  std::uint64_t frame_bytes = 0;   // of the calling function: where the callee's frame starts
  std::uint64_t callee_bytes = 0;  // of the callee's frame
  std::vector<SavedRow> saved;
};

// Row 0 is the stack pointer of every thread, 64 bits.
inline constexpr std::uint32_t kStackPointerBytes = 8 * kLanes;

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
  std::vector<Call> calls;
  std::uint32_t call_depth = 0;  // calls in progress at once, at most
  std::uint32_t save_bytes = 0;  // of a thread, for the registers of recursive functions
};

}  // namespace lull::ptx
