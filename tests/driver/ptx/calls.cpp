// Calls: each thread has a stack of its own of the calls it is in, so lanes may come to a function from anywhere and go
// back each to its own place.

#include <cstring>

#include "tests/driver/ptx/block.h"

namespace lull::ptx {
namespace {

std::uint64_t& stack_pointer(const Gang& gang, unsigned lane) {
  return reinterpret_cast<std::uint64_t*>(gang.frame.rows)[lane];
}

template <class Body>
void each_lane_of(const Lanes& lanes, Body body) {
  for (unsigned word = 0; word < lanes.bits.size(); ++word)
    for (std::uint64_t rest = lanes.bits[word]; rest != 0; rest &= rest - 1)
      body(word * 64 + static_cast<unsigned>(std::countr_zero(rest)));
}

}  // namespace

Outcome Block::call(Gang& gang, const Instruction& in, const Lanes& lanes) {
  const auto number = static_cast<std::uint32_t>(in.immediate);
  Outcome outcome = Outcome::ok;
  each_lane_of(lanes, [&](unsigned lane) {
    if (outcome == Outcome::ok) outcome = enter(gang, program_.calls[number], number, lane);
  });
  if (outcome != Outcome::ok) return outcome;
  if (lanes == gang.active) {
    gang.jump(in.target);
  } else {
    gang.put_waiting(in.target, lanes);
    gang.put_waiting(gang.at + 1, gang.active - lanes);
    (void)gang.choose();
  }
  return check_bounds();  // recursion may go on for long without a branch
}

Outcome Block::enter(Gang& gang, const Call& call, std::uint32_t number, unsigned lane) {
  const std::size_t thread = gang.first_thread + lane;
  std::uint64_t& stack = stack_pointer(gang, lane);
  if (calls_open_[thread] == program_.call_depth) return Outcome::stack_overflow;
  if (stack + call.frame_bytes + call.callee_bytes > kernel_.local_bytes) return Outcome::stack_overflow;
  std::byte* const saved = saved_ + thread * program_.save_bytes;
  std::uint32_t& used = saved_bytes_[thread];
  for (const auto& [row, bytes] : call.saved) {
    if (used + bytes > program_.save_bytes) return Outcome::stack_overflow;
    std::memcpy(saved + used, gang.frame.rows + row + std::size_t{lane} * bytes, bytes);
    used += bytes;
  }
  call_stack_[thread * program_.call_depth + calls_open_[thread]++] = number;
  stack += call.frame_bytes;
  return Outcome::ok;
}

// The instruction to go on with.
std::uint32_t Block::leave(Gang& gang, unsigned lane) {
  const std::size_t thread = gang.first_thread + lane;
  const Call& call = program_.calls[call_stack_[thread * program_.call_depth + --calls_open_[thread]]];
  stack_pointer(gang, lane) -= call.frame_bytes;
  const std::byte* const saved = saved_ + thread * program_.save_bytes;
  std::uint32_t& used = saved_bytes_[thread];
  for (auto entry = call.saved.rbegin(); entry != call.saved.rend(); ++entry) {
    used -= entry->bytes;
    std::memcpy(gang.frame.rows + entry->row + std::size_t{lane} * entry->bytes, saved + used, entry->bytes);
  }
  return call.returns_to;
}

// Lanes that were called from the same place go on together.
Outcome Block::come_back(Gang& gang, const Lanes& lanes) {
  const Lanes others = gang.active - lanes;
  const std::uint32_t next = gang.at + 1;
  Lanes together;
  std::uint32_t place = kNowhere;
  each_lane_of(lanes, [&](unsigned lane) {
    const std::uint32_t to = leave(gang, lane);
    if (to != place && place != kNowhere) {
      gang.put_waiting(place, together);
      together = {};
    }
    place = to;
    together.bits[lane / 64] |= std::uint64_t{1} << lane % 64;
  });
  if (others.empty() && together == gang.active) {
    gang.jump(place);
  } else {
    gang.put_waiting(place, together);
    gang.put_waiting(next, others);
    (void)gang.choose();
  }
  return check_bounds();
}

}  // namespace lull::ptx
