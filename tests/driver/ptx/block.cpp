#include "tests/driver/ptx/block.h"

#include <algorithm>
#include <cstring>

namespace lull::ptx {
namespace {

constexpr unsigned kWarp = 32;
constexpr std::uint32_t kBranchesOfATurn = 4096;  // of a gang, while others of its block wait for theirs

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + kRowAlign - 1) / kRowAlign * kRowAlign; }

std::uint32_t threads_of(const Launch& launch) { return launch.block[0] * launch.block[1] * launch.block[2]; }
std::uint32_t gangs_of(const Launch& launch) { return (threads_of(launch) + kLanes - 1) / kLanes; }
std::size_t shared_bytes_of(const Kernel& kernel, const Launch& launch) {
  return kernel.shared_bytes + launch.dynamic_shared;
}

std::size_t stack_bytes_of(const Program& program, std::size_t threads) {
  if (program.call_depth == 0) return 0;
  return aligned(threads * program.save_bytes) + aligned(threads * sizeof(std::uint32_t) * (program.call_depth + 2));
}

template <class T>
void fill(std::byte* row, T value) {
  std::fill_n(reinterpret_cast<T*>(row), kLanes, value);
}

void fill_constant(std::byte* row, unsigned bytes, std::uint64_t value) {
  switch (bytes) {
    case 1: return fill(row, static_cast<std::uint8_t>(value));
    case 2: return fill(row, static_cast<std::uint16_t>(value));
    case 4: return fill(row, static_cast<std::uint32_t>(value));
    default: return fill(row, value);
  }
}

bool is_of_thread(Special special) {
  return special <= Special::tid_z || special == Special::laneid || special == Special::warpid ||
         special >= Special::lanemask_eq;
}

std::uint32_t lane_mask(Special special, unsigned lane) {
  const std::uint32_t own = 1U << lane, below = own - 1;
  switch (special) {
    case Special::lanemask_eq: return own;
    case Special::lanemask_le: return below | own;
    case Special::lanemask_lt: return below;
    case Special::lanemask_ge: return ~below;
    default: return ~(below | own);
  }
}

}  // namespace

std::size_t Block::bytes_needed(const Kernel& kernel, const Launch& launch) {
  return aligned(sizeof(Block)) + gangs_of(launch) * aligned(kernel.program->row_bytes) +
         aligned(shared_bytes_of(kernel, launch)) + aligned(threads_of(launch) * kernel.local_bytes) +
         stack_bytes_of(*kernel.program, threads_of(launch));
}

Block::Block(const Kernel& kernel, const Launch& launch)
    : kernel_(kernel),
      launch_(launch),
      program_(*kernel.program),
      handlers_(handlers()),
      threads_(threads_of(launch)),
      gang_count_(gangs_of(launch)) {
  std::byte* next = reinterpret_cast<std::byte*>(this) + aligned(sizeof(Block));
  for (std::uint32_t i = 0; i < gang_count_; ++i, next += aligned(program_.row_bytes)) slots_[i].rows = next;
  shared_ = next;
  local_ = next + aligned(shared_bytes_of(kernel, launch));
  saved_ = local_ + aligned(threads_ * kernel.local_bytes);
  call_stack_ = reinterpret_cast<std::uint32_t*>(saved_ + aligned(std::size_t{threads_} * program_.save_bytes));
  calls_open_ = call_stack_ + std::size_t{threads_} * program_.call_depth;
  saved_bytes_ = calls_open_ + threads_;
  std::memset(shared_, 0, shared_bytes_of(kernel, launch));
  std::memset(local_, 0, threads_ * kernel.local_bytes);
}

Outcome Block::run() {
  begin();
  Outcome outcome = check_bounds();
  while (outcome == Outcome::ok && !has_ended()) outcome = take_turn();
  return outcome;
}

void Block::begin() {
  living_ = threads_;
  barriers_ = {};
  for (std::uint32_t i = 0; i < gang_count_; ++i) gangs_[i].start(i * kLanes, std::min(kLanes, threads_ - i * kLanes));
}

Outcome Block::take_turn() {
  bool any_ran = false;
  for (std::uint32_t i = 0; i < gang_count_; ++i) {
    Gang& gang = gangs_[i];
    if (gang.state == Gang::State::blocked || gang.state == Gang::State::finished) continue;
    if (gang.state == Gang::State::fresh) begin_gang(gang);
    any_ran = true;
    if (const Outcome outcome = advance(gang); outcome != Outcome::ok) return outcome;
    release_barriers();
  }
  return any_ran ? Outcome::ok : Outcome::deadlock;
}

void Block::begin_gang(Gang& gang) {
  std::uint32_t slot = 0;
  while (slots_[slot].taken) ++slot;  // there are as many slots as gangs
  if (!slots_[slot].prepared) prepare(slots_[slot]);
  slots_[slot].taken = true;
  fill_specials(slots_[slot], gang);
  gang.slot = slot;
  gang.frame = {.rows = slots_[slot].rows,
                .shared = shared_,
                .shared_bytes = shared_bytes_of(kernel_, launch_),
                .local = local_ + gang.first_thread * kernel_.local_bytes,
                .local_bytes = kernel_.local_bytes,
                .parameters = launch_.parameters};
  gang.state = Gang::State::ready;
  gang.activate(Lanes::first(gang.threads));
  if (program_.call_depth == 0) return;
  std::memset(gang.frame.rows, 0, kStackPointerBytes);
  std::fill_n(calls_open_ + gang.first_thread, gang.threads, 0U);
  std::fill_n(saved_bytes_ + gang.first_thread, gang.threads, 0U);
}

void Block::prepare(Slot& slot) const {
  std::memset(slot.rows, 0, program_.row_bytes);
  for (const auto& constant : program_.constants) {
    std::uint64_t value = constant.value;
    if (constant.variable >= 0)
      value += reinterpret_cast<std::uint64_t>(launch_.variable_addresses[static_cast<std::size_t>(constant.variable)]);
    fill_constant(slot.rows + constant.row, constant.bytes, value);
  }
  slot.prepared = true;
  slot.threads_of = -1;
}

void Block::fill_specials(Slot& slot, const Gang& gang) const {
  const auto index = static_cast<std::int32_t>(gang.first_thread / kLanes);
  const std::int32_t before = slot.threads_of;
  slot.threads_of = index;
  for (const auto& [row, special] : program_.specials) {
    if (special >= Special::ctaid_x && special <= Special::ctaid_z)
      fill(slot.rows + row, position[static_cast<std::size_t>(special) - static_cast<std::size_t>(Special::ctaid_x)]);
    else if (before != index && is_of_thread(special))
      fill_thread_numbers(reinterpret_cast<std::uint32_t*>(slot.rows + row), special, gang);
    else if (before < 0)
      fill(slot.rows + row, of_launch(special));
  }
}

// Every gang of every block passes here, so no division for each lane.
void Block::fill_thread_numbers(std::uint32_t* row, Special special, const Gang& gang) const {
  const std::uint32_t first = gang.first_thread;
  const auto each = [&](auto value) {
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) row[lane] = value(first + lane);
  };
  const std::uint32_t width = launch_.block[0], height = launch_.block[1], depth = launch_.block[2];
  switch (special) {
    case Special::laneid: return each([](std::uint32_t thread) { return thread % kWarp; });
    case Special::warpid: return each([](std::uint32_t thread) { return thread / kWarp; });
    case Special::tid_x:
    case Special::tid_y:
    case Special::tid_z: break;
    default: return each([=](std::uint32_t thread) { return lane_mask(special, thread % kWarp); });
  }
  if (height == 1 && depth == 1)
    return each([=](std::uint32_t thread) { return special == Special::tid_x ? thread : 0; });
  std::array<std::uint32_t, 3> at{first % width, first / width % height, first / width / height};
  each([&](std::uint32_t) {
    const std::uint32_t number = at[static_cast<std::size_t>(special)];
    if (++at[0] == width) at[0] = 0, ++at[1];
    if (at[1] == height) at[1] = 0, ++at[2];
    return number;
  });
}

std::uint32_t Block::of_launch(Special special) const {
  switch (special) {
    case Special::ntid_x: return launch_.block[0];
    case Special::ntid_y: return launch_.block[1];
    case Special::ntid_z: return launch_.block[2];
    case Special::nctaid_x: return launch_.grid[0];
    case Special::nctaid_y: return launch_.grid[1];
    case Special::nctaid_z: return launch_.grid[2];
    case Special::nwarpid: return (threads_ + kWarp - 1) / kWarp;
    case Special::nsmid: return 1;
    default: return 0;  // one multiprocessor, one grid
  }
}

Outcome Block::advance(Gang& gang) {
  const Instruction* const code = program_.code.data();
  Frame& frame = gang.frame;
  yield_ = false;
  if (gang.active.empty()) (void)gang.choose();  // released from a barrier: somebody waits
  while (gang.state == Gang::State::ready && !yield_) {
    const Instruction& in = code[gang.at];
    if (in.control != Control::none || in.guarded) {
      if (const Outcome outcome = step(gang, in); outcome != Outcome::ok) return outcome;
      continue;
    }
    executed += static_cast<std::uint64_t>(in.weight) * frame.count;
    handlers_[in.operation](frame, in);
    if (frame.fault != Outcome::ok) return frame.fault;
    if (++gang.at == gang.meets) gang.join();
  }
  return Outcome::ok;
}

Outcome Block::step(Gang& gang, const Instruction& in) {
  if (in.control == Control::branch) return branch(gang, in);
  executed += static_cast<std::uint64_t>(in.weight) * gang.frame.count;
  const Lanes lanes = in.guarded ? lanes_where(gang.frame, in.guard, in.negated) & gang.active : gang.active;
  if (lanes.empty()) {
    if (++gang.at == gang.meets) gang.join();
    return Outcome::ok;
  }
  switch (in.control) {
    case Control::exit: return end(gang, lanes);
    case Control::meet: return meet(gang, in, lanes);
    case Control::call: return call(gang, in, lanes);
    case Control::ret: return come_back(gang, lanes);
    case Control::barrier: return arrive(gang, in, lanes);
    case Control::trap: return Outcome::trap;
    default: return execute_narrowed(gang, in, lanes);
  }
}

Outcome Block::execute_narrowed(Gang& gang, const Instruction& in, const Lanes& lanes) {
  Frame& frame = gang.frame;
  const auto list = frame.list;
  const auto first = frame.first, count = frame.count;
  if (lanes != gang.active) set_active(frame, lanes, guard_list_);
  handlers_[in.operation](frame, in);
  frame.list = list;
  frame.first = first;
  frame.count = count;
  if (frame.fault != Outcome::ok) return frame.fault;
  if (++gang.at == gang.meets) gang.join();
  return Outcome::ok;
}

Outcome Block::branch(Gang& gang, const Instruction& in) {
  executed += gang.frame.count;
  const std::uint32_t from = gang.at;
  const Lanes taken = in.guarded ? lanes_where(gang.frame, in.guard, in.negated) & gang.active : gang.active;
  if (taken.empty()) {
    if (++gang.at == gang.meets) gang.join();
    return Outcome::ok;
  }
  if (taken == gang.active) {
    gang.jump(in.target);
  } else {
    gang.put_waiting(in.target, taken);
    gang.put_waiting(from + 1, gang.active - taken);
    (void)gang.choose();  // at least two wait, or one if they meet at once
  }
  if (in.target > from) return Outcome::ok;
  if (++back_branches_ % kBranchesOfATurn == 0) yield_ = true;
  return check_bounds();  // whatever runs for long passes here
}

// Lanes leave the running group; what is left of it goes on.
Outcome Block::part(Gang& gang, const Lanes& lanes) {
  const Lanes rest = gang.active - lanes;
  ++gang.at;
  gang.activate(rest);
  if (!rest.empty()) {
    if (gang.at == gang.meets) gang.join();
    return Outcome::ok;
  }
  if (gang.choose()) return Outcome::ok;
  gang.state = gang.parked_count != 0 ? Gang::State::blocked : Gang::State::finished;
  if (gang.state == Gang::State::finished) slots_[gang.slot].taken = false;
  return Outcome::ok;
}

Outcome Block::end(Gang& gang, const Lanes& lanes) {
  living_ -= lanes.count();
  gang.living = gang.living - lanes;
  gang.release(kMeeting);  // to look again: nobody waits for the dead
  return part(gang, lanes);
}

// Those who miss somebody wait at this instruction, for the next ones who come here to take them along.
Outcome Block::meet(Gang& gang, const Instruction& in, const Lanes& lanes) {
  const Lanes waiting = gang.parked_count == 0 ? Lanes{} : gang.take_meeting(gang.at);
  if (!waiting.empty()) gang.activate(gang.active | waiting);
  const Lanes missing = gang.incomplete(lanes | waiting, in.row[0]);
  if (missing.empty()) {
    if (++gang.at == gang.meets) gang.join();
    return Outcome::ok;
  }
  gang.park(gang.at, missing, kMeeting);
  return part(gang, missing);
}

Outcome Block::arrive(Gang& gang, const Instruction& in, const Lanes& lanes) {
  Barrier& barrier = barriers_[in.barrier];
  barrier.arrived += lanes.count();
  barrier.expected = static_cast<std::uint32_t>(in.immediate);
  gang.park(gang.at + 1, lanes, in.barrier);
  return part(gang, lanes);
}

void Block::release_barriers() {
  if (!program_.uses_barriers) return;
  for (std::uint8_t number = 0; number < kBarriers; ++number) {
    Barrier& barrier = barriers_[number];
    const std::uint32_t expected = barrier.expected != 0 ? barrier.expected : living_;
    if (barrier.arrived == 0 || barrier.arrived < expected) continue;
    barrier = {};
    for (std::uint32_t i = 0; i < gang_count_; ++i)
      if (gangs_[i].state != Gang::State::fresh) gangs_[i].release(number);
  }
}

Outcome Block::check_bounds() const {
  if (launch_.breathe != nullptr) launch_.breathe(launch_.breather);
  if (launch_.stop != nullptr && launch_.stop->load(std::memory_order_relaxed)) return Outcome::stopped;
  if (launch_.instruction_budget != 0 && executed > launch_.instruction_budget) return Outcome::budget_exceeded;
  return Outcome::ok;
}

}  // namespace lull::ptx
