#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string_view>
#include <tuple>

#include "tests/driver/ptx/program.h"
#include "tests/driver/ptx/types.h"

namespace lull::ptx {

struct Guard {
  bool present = false;
  bool negated = false;
  std::uint32_t row = 0;
};

inline constexpr std::uint32_t kNoRow = UINT32_MAX;

// Lays out the rows of a kernel and collects its instructions.
class Builder {
 public:
  std::uint32_t new_row(unsigned bytes);
  // A row of `bytes` for the steps of one PTX instruction; free again after begin_instruction().
  std::uint32_t temporary(unsigned bytes);
  std::uint32_t constant(unsigned bytes, std::uint64_t value, std::int32_t variable = -1, std::int32_t shared = -1);
  std::uint32_t special(Special special);
  // The carry flag of add.cc and its like: a predicate that has no name.
  std::uint32_t carry_flag();
  bool has_carry_flag() const { return carry_flag_ != kNoRow; }

  void begin_instruction(const Guard& guard);
  // The next step counts as the instruction, not the last one.
  void count_next() { weight_ = 1; }
  const Guard& guard() const { return guard_; }
  // An operation of operations.def. Every step of an instruction runs under its guard; the first one counts.
  Instruction& emit(std::uint16_t operation);
  // By internal name; the parser knows that it exists.
  Instruction& emit(std::string_view operation);
  Instruction& emit(Control control);
  std::uint32_t position() const { return static_cast<std::uint32_t>(program_.code.size()); }
  Instruction& at(std::uint32_t position) { return program_.code[position]; }

  std::uint64_t row_bytes() const { return row_bytes_; }
  Program finish();

 private:
  Program program_;
  std::uint64_t row_bytes_ = kStackPointerBytes;
  Guard guard_;
  std::uint8_t weight_ = 1;
  std::map<unsigned, std::vector<std::uint32_t>> temporaries_;  // by width
  std::map<unsigned, std::size_t> temporaries_used_;
  std::map<std::tuple<unsigned, std::uint64_t, std::int32_t, std::int32_t>, std::uint32_t> constants_;
  std::map<Special, std::uint32_t> specials_;
  std::uint32_t carry_flag_ = kNoRow;
};

}  // namespace lull::ptx
