#pragma once

// What the lanes of a warp tell each other: shuffles, votes, matches, reductions. By the time these run, every living
// lane that row 4, the member mask, names is active: the step before has waited for them (Control::meet). Lanes whose
// masks differ work in groups of their own.

#include <array>

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

inline constexpr unsigned kWarpLanes = 32;

// body(first lane of the warp, its active lanes as bits)
template <class Body>
void each_warp(const Frame& frame, Body body) {
  std::array<u32, kLanes / kWarpLanes> active{};
  each_lane_in_order(frame, [&](std::size_t lane) { active[lane / kWarpLanes] |= 1U << (lane % kWarpLanes); });
  for (unsigned warp = 0; warp < active.size(); ++warp)
    if (active[warp] != 0) body(warp * kWarpLanes, active[warp]);
}
template <class Body>
void each_bit(u32 bits, Body body) {
  for (; bits != 0; bits &= bits - 1) body(static_cast<unsigned>(__builtin_ctz(bits)));
}

// d[lane] = answer(lane, members of the lane, operands of the warp)
template <class D, class A, class Answer>
void collective(Frame& frame, const Instruction& in, Answer answer) {
  each_warp(frame, [&](unsigned first, u32 active) {
    std::array<A, kWarpLanes> operands;  // a copy: d may be a
    std::memcpy(operands.data(), row<A>(frame, in.row[1]) + first, sizeof operands);
    const u32* const mask = row<u32>(frame, in.row[4]) + first;
    std::array<D, kWarpLanes> results{};
    each_bit(active, [&](unsigned lane) { results[lane] = answer(lane, mask[lane] & active, operands); });
    D* const d = row<D>(frame, in.row[0]) + first;
    each_bit(active, [&](unsigned lane) { d[lane] = results[lane]; });
  });
}

// Where lane reads from, if that is within its segment.
struct UpLanes {
  static constexpr bool inside(s32 from, s32 bound) { return from >= bound; }
  static s32 from(s32 lane, s32 b, s32, s32) { return lane - b; }
};
struct Across {
  static constexpr bool inside(s32 from, s32 bound) { return from <= bound; }
};
struct DownLanes : Across {
  static s32 from(s32 lane, s32 b, s32, s32) { return lane + b; }
};
struct Butterfly : Across {
  static s32 from(s32 lane, s32 b, s32, s32) { return lane ^ b; }
};
struct ByIndex : Across {
  static s32 from(s32, s32 b, s32 lowest, s32 segment) { return lowest | (b & ~segment); }
};
struct Shuffled {
  unsigned from;
  bool inside;
};
template <class Mode>
Shuffled shuffled(unsigned lane, u32 b, u32 c) {
  const s32 own = static_cast<s32>(lane), clamp = static_cast<s32>(c & 31U), segment = static_cast<s32>(c >> 8 & 31U);
  const s32 lowest = own & segment, bound = lowest | (clamp & ~segment);
  const s32 from = Mode::from(own, static_cast<s32>(b & 31U), lowest, segment);
  const bool inside = Mode::inside(from, bound) && from >= 0 && from < static_cast<s32>(kWarpLanes);
  return {inside ? static_cast<unsigned>(from) : lane, inside};
}

// A lane that is not there leaves the answer open in PTX; here it is the asking lane's own value.
template <class Mode>
void shuffle(Frame& frame, const Instruction& in) {
  each_warp(frame, [&](unsigned first, u32 active) {
    std::array<u32, kWarpLanes> values;
    std::memcpy(values.data(), row<u32>(frame, in.row[1]) + first, sizeof values);
    const u32 *const b = row<u32>(frame, in.row[2]) + first, *const c = row<u32>(frame, in.row[3]) + first;
    const u32* const mask = row<u32>(frame, in.row[4]) + first;
    std::array<u32, kWarpLanes> results{};
    each_bit(active, [&](unsigned lane) {
      const unsigned from = shuffled<Mode>(lane, b[lane], c[lane]).from;
      results[lane] = values[(mask[lane] & active & 1U << from) != 0 ? from : lane];
    });
    u32* const d = row<u32>(frame, in.row[0]) + first;
    each_bit(active, [&](unsigned lane) { d[lane] = results[lane]; });
  });
}
template <class Mode>
void shuffle_inside(Frame& frame, const Instruction& in) {
  u8* const d = row<u8>(frame, in.row[0]);
  const u32 *const b = row<u32>(frame, in.row[2]), *const c = row<u32>(frame, in.row[3]);
  each_lane_in_order(frame, [&](std::size_t lane) {
    d[lane] = shuffled<Mode>(static_cast<unsigned>(lane % kWarpLanes), b[lane], c[lane]).inside ? 1 : 0;
  });
}

inline u32 ballot_of(u32 members, const std::array<u8, kWarpLanes>& predicate) {
  u32 out = 0;
  each_bit(members, [&](unsigned lane) { out |= u32{predicate[lane]} << lane; });
  return out;
}
struct VoteAll {
  static u8 of(u32 ballot, u32 members) { return ballot == members ? 1 : 0; }
};
struct VoteAny {
  static u8 of(u32 ballot, u32) { return ballot != 0 ? 1 : 0; }
};
struct VoteUniform {
  static u8 of(u32 ballot, u32 members) { return ballot == 0 || ballot == members ? 1 : 0; }
};
struct VoteBallot {
  static u32 of(u32 ballot, u32) { return ballot; }
};
template <class D, class F>
void vote(Frame& frame, const Instruction& in) {
  collective<D, u8>(frame, in, [](unsigned, u32 members, const auto& predicate) {
    return F::of(ballot_of(members, predicate), members);
  });
}

template <class T>
u32 same_as(const T& value, u32 members, const std::array<T, kWarpLanes>& values) {
  u32 out = 0;
  each_bit(members, [&](unsigned lane) { out |= values[lane] == value ? 1U << lane : 0U; });
  return out;
}
template <class T>
void match_any(Frame& frame, const Instruction& in) {
  collective<u32, T>(frame, in, [](unsigned lane, u32 members, const auto& values) {
    return same_as<T>(values[lane], members, values);
  });
}
template <class T>
void match_all(Frame& frame, const Instruction& in) {
  collective<u32, T>(frame, in, [](unsigned lane, u32 members, const auto& values) {
    return same_as<T>(values[lane], members, values) == members ? members : 0U;
  });
}

template <class T, class F>
void reduce(Frame& frame, const Instruction& in) {
  collective<T, T>(frame, in, [](unsigned lane, u32 members, const auto& values) {
    T out = values[lane];
    each_bit(members & ~(1U << lane), [&](unsigned other) { out = F::of(out, values[other]); });
    return out;
  });
}

inline void active_mask(Frame& frame, const Instruction& in) {
  each_warp(frame, [&](unsigned first, u32 active) {
    u32* const d = row<u32>(frame, in.row[0]) + first;
    each_bit(active, [&](unsigned lane) { d[lane] = active; });
  });
}

}  // namespace
}  // namespace lull::ptx
