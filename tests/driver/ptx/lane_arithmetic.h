#pragma once

#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

template <class T>
struct Twice;
template <>
struct Twice<u16> {
  using type = u32;
};
template <>
struct Twice<s16> {
  using type = s32;
};
template <>
struct Twice<u32> {
  using type = u64;
};
template <>
struct Twice<s32> {
  using type = s64;
};
template <>
struct Twice<u64> {
  using type = u128;
};
template <>
struct Twice<s64> {
  using type = s128;
};

template <class T>
inline constexpr bool kSigned = T(-1) < T(0);
template <class T>
inline constexpr unsigned kBits = sizeof(T) * 8;

struct Same {
  template <class T>
  static T of(T a) {
    return a;
  }
};

struct Add {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct Subtract {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(a - b);
  }
};
struct Multiply {
  // Of two u16 the product would be a signed int that may overflow.
  static u16 of(u16 a, u16 b) { return static_cast<u16>(u32{a} * b); }
  template <class T>
  static T of(T a, T b) {
    return a * b;
  }
};
struct MultiplyHigh {
  template <class T>
  static T of(T a, T b) {
    using Wide = typename Twice<T>::type;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> kBits<T>);
  }
};
struct MultiplyAdd {
  template <class T>
  static T of(T a, T b, T c) {
    return static_cast<T>(Multiply::of(a, b) + c);
  }
};
struct MultiplyHighAdd {
  template <class T>
  static T of(T a, T b, T c) {
    return static_cast<T>(static_cast<u64>(MultiplyHigh::of(a, b)) + static_cast<u64>(c));
  }
};
struct Fused {
  static f32 of(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
  static f64 of(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
};

template <class W>
struct WideMultiply {
  template <class T>
  static W of(T a, T b) {
    return static_cast<W>(static_cast<W>(a) * static_cast<W>(b));
  }
};
template <class W>
struct WideMultiplyAdd {
  template <class T>
  static W of(T a, T b, W c) {
    return static_cast<W>(static_cast<u64>(WideMultiply<W>::of(a, b)) + static_cast<u64>(c));
  }
};

// PTX leaves division by zero open; GPUs answer all ones, and the dividend as remainder.
struct Divide {
  template <class T>
  static T of(T a, T b) {
    if (b == T(0)) return static_cast<T>(-1);
    if constexpr (kSigned<T>)
      if (b == T(-1)) return static_cast<T>(u64{0} - static_cast<u64>(a));  // the smallest number wraps to itself
    return static_cast<T>(a / b);
  }
};
struct Remainder {
  template <class T>
  static T of(T a, T b) {
    if (b == T(0)) return a;
    if constexpr (kSigned<T>)
      if (b == T(-1)) return T(0);
    return static_cast<T>(a % b);
  }
};
struct Quotient {
  template <class T>
  static T of(T a, T b) {
    return a / b;
  }
};

struct Minimum {
  template <class T>
  static T of(T a, T b) {
    return b < a ? b : a;
  }
};
struct Maximum {
  template <class T>
  static T of(T a, T b) {
    return a < b ? b : a;
  }
};

// A number wins over a NaN, and -0 counts as less than +0. Operators that do not branch, for the vectoriser.
template <class T>
LULL_INLINE bool is_nan(T a) {
  return !(a == a);
}
LULL_INLINE bool is_negative(f32 a) { return __builtin_signbit(a) != 0; }
LULL_INLINE bool is_negative(f64 a) { return __builtin_signbit(a) != 0; }
struct RealMinimum {
  template <class T>
  static T of(T a, T b) {
    const bool take_a = a < b || is_nan(b) || (a == b && is_negative(a));
    return take_a ? a : b;
  }
};
struct RealMaximum {
  template <class T>
  static T of(T a, T b) {
    const bool take_a = a > b || is_nan(b) || (a == b && !is_negative(a));
    return take_a ? a : b;
  }
};
// NaN if either is, the canonical one.
struct NanMinimum {
  static f32 of(f32 a, f32 b) { return is_nan(a) || is_nan(b) ? __builtin_nanf("0x3FFFFF") : RealMinimum::of(a, b); }
};
struct NanMaximum {
  static f32 of(f32 a, f32 b) { return is_nan(a) || is_nan(b) ? __builtin_nanf("0x3FFFFF") : RealMaximum::of(a, b); }
};

struct And {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};
struct Not {
  template <class T>
  static T of(T a) {
    return static_cast<T>(~a);
  }
};
struct NotPredicate {
  static u8 of(u8 a) { return a ^ 1U; }
};
struct IsZero {
  template <class T>
  static T of(T a) {
    return a == 0 ? T(1) : T(0);
  }
};
struct Negate {
  template <class T>
  static T of(T a) {
    return static_cast<T>(T(0) - a);
  }
  static f32 of(f32 a) { return -a; }
  static f64 of(f64 a) { return -a; }
};
struct Absolute {
  template <class T>
  static T of(T a) {
    return a < 0 ? static_cast<T>(u64{0} - static_cast<u64>(a)) : a;
  }
};
struct RealAbsolute {
  static f32 of(f32 a) { return __builtin_fabsf(a); }
  static f64 of(f64 a) { return __builtin_fabs(a); }
};

struct CountOnes {
  static u32 of(u32 a) { return static_cast<u32>(__builtin_popcount(a)); }
  static u32 of(u64 a) { return static_cast<u32>(__builtin_popcountll(a)); }
};
struct LeadingZeros {
  static u32 of(u32 a) { return a == 0 ? 32U : static_cast<u32>(__builtin_clz(a)); }
  static u32 of(u64 a) { return a == 0 ? 64U : static_cast<u32>(__builtin_clzll(a)); }
};
struct ReverseBits {
  template <class T>
  static T of(T a) {
    T out = 0;
    for (unsigned i = 0; i < kBits<T>; ++i) out = static_cast<T>(out | (((a >> i) & 1U) << (kBits<T> - 1 - i)));
    return out;
  }
};

// Amounts above the width count as the width.
struct ShiftLeft {
  template <class T>
  static T of(T a, u32 n) {
    return n < kBits<T> ? static_cast<T>(a << n) : T(0);
  }
};
struct ShiftRight {
  template <class T>
  static T of(T a, u32 n) {
    if constexpr (kSigned<T>) return static_cast<T>(a >> (n < kBits<T> ? n : kBits<T> - 1));
    return n < kBits<T> ? static_cast<T>(a >> n) : T(0);
  }
};
struct Wrap {
  static u32 of(u32 n) { return n & 31U; }
};
struct Clamp {
  static u32 of(u32 n) { return n < 32U ? n : 32U; }
};
// Of the 64 bits b:a.
template <class Amount>
struct FunnelLeft {
  static u32 of(u32 a, u32 b, u32 c) { return static_cast<u32>((((u64{b} << 32) | a) << Amount::of(c)) >> 32); }
};
template <class Amount>
struct FunnelRight {
  static u32 of(u32 a, u32 b, u32 c) { return static_cast<u32>(((u64{b} << 32) | a) >> Amount::of(c)); }
};

// What PTX calls approximate is exact or the C library's here, so it is the same in every run.
struct SquareRoot {
  static f32 of(f32 a) { return __builtin_sqrtf(a); }
  static f64 of(f64 a) { return __builtin_sqrt(a); }
};
struct Reciprocal {
  template <class T>
  static T of(T a) {
    return T(1) / a;
  }
};
struct InverseRoot {
  static f32 of(f32 a) { return static_cast<f32>(1.0 / __builtin_sqrt(static_cast<f64>(a))); }
};
struct PowerOfTwo {
  static f32 of(f32 a) { return __builtin_exp2f(a); }
};
struct Logarithm {
  static f32 of(f32 a) { return __builtin_log2f(a); }
};
struct Sine {
  static f32 of(f32 a) { return __builtin_sinf(a); }
};
struct Cosine {
  static f32 of(f32 a) { return __builtin_cosf(a); }
};
struct HyperbolicTangent {
  static f32 of(f32 a) { return __builtin_tanhf(a); }
};

struct Equal {
  template <class T>
  static bool of(T a, T b) {
    return a == b;
  }
};
struct NotEqual {
  template <class T>
  static bool of(T a, T b) {
    return a != b;
  }
};
struct Less {
  template <class T>
  static bool of(T a, T b) {
    return a < b;
  }
};
struct LessOrEqual {
  template <class T>
  static bool of(T a, T b) {
    return a <= b;
  }
};
struct Greater {
  template <class T>
  static bool of(T a, T b) {
    return a > b;
  }
};
struct GreaterOrEqual {
  template <class T>
  static bool of(T a, T b) {
    return a >= b;
  }
};
struct Never {
  template <class T>
  static bool of(T, T) {
    return false;
  }
};
struct BothNumbers {
  template <class T>
  static bool of(T a, T b) {
    return a == a && b == b;
  }
};
struct OrderedNotEqual {
  template <class T>
  static bool of(T a, T b) {
    return BothNumbers::of(a, b) && a != b;
  }
};
template <class F>
struct Unordered {
  template <class T>
  static bool of(T a, T b) {
    return F::of(a, b) || !BothNumbers::of(a, b);
  }
};

template <class T>
void select(Frame& frame, const Instruction& in) {
  T* const d = row<T>(frame, in.row[0]);
  const T* const a = row<T>(frame, in.row[1]);
  const T* const b = row<T>(frame, in.row[2]);
  const u8* const p = row<u8>(frame, in.row[3]);
  each_lane(frame, [=](std::size_t i) { d[i] = p[i] != 0 ? a[i] : b[i]; });
}

}  // namespace
}  // namespace lull::ptx
