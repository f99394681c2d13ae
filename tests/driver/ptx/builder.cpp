#include "tests/driver/ptx/builder.h"

#include <cassert>
#include <utility>

#include "tests/driver/ptx/operations.h"

namespace lull::ptx {

// The parser refuses kernels whose rows exceed its limit, which is far below 4 GiB.
std::uint32_t Builder::new_row(unsigned bytes) {
  const auto row = static_cast<std::uint32_t>(row_bytes_);
  row_bytes_ += std::uint64_t{bytes} * kLanes;
  return row;
}

std::uint32_t Builder::temporary(unsigned bytes) {
  auto& rows = temporaries_[bytes];
  auto& used = temporaries_used_[bytes];
  if (used == rows.size()) rows.push_back(new_row(bytes));
  return rows[used++];
}

std::uint32_t Builder::constant(unsigned bytes, std::uint64_t value, std::int32_t variable, std::int32_t shared) {
  const auto [entry, is_new] = constants_.try_emplace({bytes, value, variable, shared}, 0);
  if (!is_new) return entry->second;
  entry->second = new_row(bytes);
  program_.constants.push_back(
      {.row = entry->second, .bytes = bytes, .value = value, .variable = variable, .shared = shared});
  return entry->second;
}

std::uint32_t Builder::special(Special special) {
  const auto [entry, is_new] = specials_.try_emplace(special, 0);
  if (!is_new) return entry->second;
  entry->second = new_row(4);
  program_.specials.push_back({entry->second, special});
  return entry->second;
}

std::uint32_t Builder::carry_flag() {
  if (carry_flag_ == kNoRow) carry_flag_ = new_row(bytes_of(Type::pred));
  return carry_flag_;
}

void Builder::begin_instruction(const Guard& guard) {
  guard_ = guard;
  weight_ = 1;
  temporaries_used_.clear();
}

Instruction& Builder::emit(std::uint16_t operation) {
  Instruction in;
  in.operation = operation;
  in.guarded = guard_.present;
  in.negated = guard_.negated;
  in.guard = guard_.row;
  in.weight = std::exchange(weight_, std::uint8_t{0});
  return program_.code.emplace_back(in);
}

Instruction& Builder::emit(std::string_view name) {
  const Operation* const operation = operation_named(name);
  assert(operation != nullptr);
  return emit(operation->number);
}

Instruction& Builder::emit(Control control) {
  Instruction& in = emit(std::uint16_t{0});
  in.control = control;
  if (control == Control::barrier) program_.uses_barriers = true;
  return in;
}

Program Builder::finish() {
  program_.row_bytes = static_cast<std::uint32_t>(row_bytes_);
  return std::move(program_);
}

}  // namespace lull::ptx
