#pragma once

#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

template <class D>
struct Convert {
  template <class S>
  static D of(S a) {
    return static_cast<D>(a);
  }
};

struct Nearest {  // to even: the rounding mode of the process is the default one
  static f32 of(f32 a) { return __builtin_rintf(a); }
  static f64 of(f64 a) { return __builtin_rint(a); }
};
struct TowardZero {
  static f32 of(f32 a) { return __builtin_truncf(a); }
  static f64 of(f64 a) { return __builtin_trunc(a); }
};
struct Down {
  static f32 of(f32 a) { return __builtin_floorf(a); }
  static f64 of(f64 a) { return __builtin_floor(a); }
};
struct Up {
  static f32 of(f32 a) { return __builtin_ceilf(a); }
  static f64 of(f64 a) { return __builtin_ceil(a); }
};

// Out of range becomes the nearest number of D; NaN becomes 0.
template <class D, class Rounding>
struct ToInteger {
  template <class S>
  static D of(S a) {
    constexpr bool is_signed = D(-1) < D(0);
    constexpr unsigned value_bits = sizeof(D) * 8 - (is_signed ? 1 : 0);
    constexpr S above = static_cast<S>(2) * static_cast<S>(u64{1} << (value_bits - 1));  // one more than the largest D
    constexpr D largest = static_cast<D>(~u64{0} >> (64 - value_bits));
    constexpr D smallest = is_signed ? static_cast<D>(u64{1} << value_bits) : D(0);
    const S rounded = Rounding::of(a);
    if (rounded >= above) return largest;
    if (!(rounded >= (is_signed ? -above : S(0)))) return a == a ? smallest : D(0);
    return static_cast<D>(rounded);
  }
};

template <class Half>
struct HighHalf {
  template <class T>
  static Half of(T a) {
    return static_cast<Half>(a >> (sizeof(Half) * 8));
  }
};

// b is the high half.
template <class D, class Half>
struct Pack {
  static D of(Half a, Half b) {
    return static_cast<D>(static_cast<D>(a) | (static_cast<u64>(b) << (sizeof(Half) * 8)));
  }
};

}  // namespace
}  // namespace lull::ptx
