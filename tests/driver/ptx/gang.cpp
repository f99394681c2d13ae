#include "tests/driver/ptx/gang.h"

#include <cassert>
#include <cstring>

namespace lull::ptx {
namespace {

// How many choices go to the lowest group before another one has its turn.
constexpr std::uint32_t kTurnsOfLowest = 64;

void add(std::span<Group, kLanes> groups, std::uint32_t& count, const Group& group) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (groups[i].at != group.at || groups[i].barrier != group.barrier) continue;
    groups[i].lanes = groups[i].lanes | group.lanes;
    return;
  }
  assert(count < kLanes);  // groups are disjoint and not empty
  groups[count++] = group;
}

Group take(std::span<Group, kLanes> groups, std::uint32_t& count, std::uint32_t index) {
  const Group taken = groups[index];
  groups[index] = groups[--count];
  return taken;
}

}  // namespace

Lanes Lanes::first(unsigned count) {
  const auto word = [](unsigned n) { return n >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << n) - 1; };
  return {{word(count), count > 64 ? word(count - 64) : 0}};
}

void Gang::start(std::uint32_t first, std::uint32_t count) {
  state = State::fresh;
  living = Lanes::first(count);
  active = {};
  first_thread = first;
  threads = count;
  at = 0;
  meets = kNowhere;
  lowest = true;
  turns = 0;
  rotation = 0;
  waiting_count = 0;
  parked_count = 0;
}

void Gang::activate(const Lanes& lanes) {
  active = lanes;
  set_active(frame, lanes, list);
}

void Gang::put_waiting(std::uint32_t place, const Lanes& lanes) {
  if (!lanes.empty()) add(waiting, waiting_count, {.at = place, .lanes = lanes});
}

void Gang::park(std::uint32_t place, const Lanes& lanes, std::uint8_t barrier) {
  add(parked, parked_count, {.at = place, .barrier = barrier, .lanes = lanes});
}

Lanes Gang::take_meeting(std::uint32_t place) {
  Lanes out;
  for (std::uint32_t i = 0; i < parked_count;)
    if (parked[i].barrier == kMeeting && parked[i].at == place)
      out = out | take(parked, parked_count, i).lanes;
    else
      ++i;
  return out;
}

Lanes Gang::incomplete(const Lanes& lanes, std::uint32_t mask_row) const {
  Lanes out;
  for (unsigned first = 0; first < kLanes; first += 32) {
    const auto of_warp = [&](const Lanes& all) {
      return static_cast<std::uint32_t>(all.bits[first / 64] >> first % 64);
    };
    const std::uint32_t here = of_warp(lanes);
    for (std::uint32_t rest = here; rest != 0;) {
      const auto lane = static_cast<unsigned>(std::countr_zero(rest));
      std::uint32_t mask;
      std::memcpy(&mask, frame.rows + mask_row + (first + lane) * sizeof mask, sizeof mask);
      const std::uint32_t group = rest & (mask | 1U << lane);  // lanes that name each other have the same mask
      if ((mask & of_warp(living) & ~here) != 0) out.bits[first / 64] |= std::uint64_t{group} << first % 64;
      rest &= ~group;
    }
  }
  return out;
}

void Gang::release(std::uint8_t barrier) {
  for (std::uint32_t i = 0; i < parked_count;) {
    if (parked[i].barrier != barrier) {
      ++i;
      continue;
    }
    const Group group = take(parked, parked_count, i);
    put_waiting(group.at, group.lanes);
  }
  if (state == State::blocked && waiting_count != 0) state = State::ready;
}

void Gang::join() {
  Lanes joined = active;
  for (std::uint32_t i = 0; i < waiting_count;)
    if (waiting[i].at == at)
      joined = joined | take(waiting, waiting_count, i).lanes;
    else
      ++i;
  activate(joined);
  meets = kNowhere;
  for (std::uint32_t i = 0; i < waiting_count; ++i)
    if (waiting[i].at > at && waiting[i].at < meets) meets = waiting[i].at;
}

void Gang::jump(std::uint32_t target) {
  const bool goes_on = lowest && target <= meets && (waiting_count == 0 || ++turns < kTurnsOfLowest);
  if (!goes_on) {
    put_waiting(target, active);
    (void)choose();  // there is one: that just put there
    return;
  }
  at = target;
  if (at == meets) join();
}

bool Gang::choose() {
  if (waiting_count == 0) return false;
  std::uint32_t chosen = 0;
  for (std::uint32_t i = 1; i < waiting_count; ++i)
    if (waiting[i].at < waiting[chosen].at) chosen = i;
  lowest = waiting_count == 1 || ++turns < kTurnsOfLowest;
  if (!lowest) {
    turns = 0;
    chosen = (chosen + 1 + rotation++ % (waiting_count - 1)) % waiting_count;
  }
  const Group group = take(waiting, waiting_count, chosen);
  active = group.lanes;
  at = group.at;
  join();
  return true;
}

// Predicates are bytes of 0 and 1; the product gathers eight of them in its top byte.
Lanes lanes_where(const Frame& frame, std::uint32_t predicate_row, bool negated) {
  Lanes out;
  const std::byte* const bytes = frame.rows + predicate_row;
  for (unsigned i = 0; i < kLanes / 8; ++i) {
    std::uint64_t word;
    std::memcpy(&word, bytes + i * 8, sizeof word);
    if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
    out.bits[i / 8] |= ((word * 0x0102040810204080U) >> 56) << (i % 8 * 8);
  }
  if (negated) out = {{~out.bits[0], ~out.bits[1]}};
  return out;
}

void set_active(Frame& frame, const Lanes& lanes, std::span<std::uint16_t, kLanes> list) {
  const unsigned count = lanes.count();
  const auto lowest = static_cast<unsigned>(lanes.bits[0] != 0 ? std::countr_zero(lanes.bits[0])
                                                               : 64 + std::countr_zero(lanes.bits[1]));
  frame.first = count == 0 ? 0 : lowest;
  frame.count = count;
  frame.list = nullptr;
  if (count == 0 || Lanes::first(lowest + count) - Lanes::first(lowest) == lanes) return;
  unsigned filled = 0;
  for (unsigned word = 0; word < lanes.bits.size(); ++word)
    for (std::uint64_t rest = lanes.bits[word]; rest != 0; rest &= rest - 1)
      list[filled++] = static_cast<std::uint16_t>(word * 64 + static_cast<unsigned>(std::countr_zero(rest)));
  frame.list = list.data();
}

}  // namespace lull::ptx
