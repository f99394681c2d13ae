#pragma once

// Building blocks of the lane operations. Only lanes.cpp includes these lane_*.h files: it is compiled for several
// instruction sets, so everything here has internal linkage and nothing is shared with other files.

#include <cfenv>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/driver/ptx/frame.h"

// Rows are the same row or apart, so no element depends on an earlier one.
#if defined(__clang__)
#define LULL_LANES_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define LULL_LANES_INDEPENDENT _Pragma("GCC ivdep")
#endif
#define LULL_INLINE __attribute__((always_inline)) inline

namespace lull::ptx {
namespace {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;
using f32 = float;
using f64 = double;

template <class T>
LULL_INLINE T* row(const Frame& frame, std::uint32_t offset) {
  return reinterpret_cast<T*>(frame.rows + offset);
}

template <class Body>
LULL_INLINE void each_lane(const Frame& frame, Body body) {
  if (frame.list != nullptr) {
    for (std::size_t k = 0; k < frame.count; ++k) body(frame.list[k]);
    return;
  }
  const std::size_t end = frame.first + frame.count;
  LULL_LANES_INDEPENDENT
  for (std::size_t lane = frame.first; lane < end; ++lane) body(lane);
}

// The same without the promise of independence: in the order of the lanes, as memory sees it.
template <class Body>
LULL_INLINE void each_lane_in_order(const Frame& frame, Body body) {
  for (std::size_t k = 0; k < frame.count; ++k) body(frame.list != nullptr ? frame.list[k] : frame.first + k);
}

// The same loop under another rounding mode of the processor. The rows are memory, so no operation moves out of between
// the two calls.
template <Handler handler, int mode>
void rounded(Frame& frame, const Instruction& in) {
  (void)std::fesetround(mode);  // cannot fail: the modes are those of <cfenv>
  handler(frame, in);
  (void)std::fesetround(FE_TONEAREST);
}

template <class D, class A, class F>
void unary(Frame& frame, const Instruction& in) {
  D* const d = row<D>(frame, in.row[0]);
  const A* const a = row<A>(frame, in.row[1]);
  each_lane(frame, [=](std::size_t i) { d[i] = static_cast<D>(F::of(a[i])); });
}

template <class D, class T, class A2, class F>
void binary(Frame& frame, const Instruction& in) {
  D* const d = row<D>(frame, in.row[0]);
  const T* const a = row<T>(frame, in.row[1]);
  const A2* const b = row<A2>(frame, in.row[2]);
  each_lane(frame, [=](std::size_t i) { d[i] = static_cast<D>(F::of(a[i], b[i])); });
}

template <class D, class T, class C, class F>
void ternary(Frame& frame, const Instruction& in) {
  D* const d = row<D>(frame, in.row[0]);
  const T* const a = row<T>(frame, in.row[1]);
  const T* const b = row<T>(frame, in.row[2]);
  const C* const c = row<C>(frame, in.row[3]);
  each_lane(frame, [=](std::size_t i) { d[i] = static_cast<D>(F::of(a[i], b[i], c[i])); });
}

}  // namespace
}  // namespace lull::ptx
