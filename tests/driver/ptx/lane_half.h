#pragma once

// Half precision: f16 as its 16 bits, f16x2 as two of them in 32, bf16 as the high half of an f32. The operations work
// in a wider format in which every intermediate result is exact, or rounded to odd, and round to 16 bits once.

#include <bit>

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

inline constexpr u16 kHalfNan = 0x7FFF, kHalfInfinity = 0x7C00, kHalfLargest = 0x7BFF, kHalfSign = 0x8000;

LULL_INLINE f32 widened(u16 half) {
  const u32 sign = (half & u32{kHalfSign}) << 16, exponent = (half >> 10) & 31U, fraction = half & 0x3FFU;
  const f32 subnormal = static_cast<f32>(fraction) * 0x1p-24F;
  const u32 normal = (exponent == 31 ? 0xFFU << 23 : (exponent + 112) << 23) | fraction << 13;
  return std::bit_cast<f32>(sign | (exponent == 0 ? std::bit_cast<u32>(subnormal) : normal));
}

enum class HalfRounding : u8 { nearest, toward_zero };

template <HalfRounding rounding>
LULL_INLINE u16 half_of(f64 a) {
  const u64 bits = std::bit_cast<u64>(a), magnitude = bits & ~(u64{1} << 63);
  const u16 sign = static_cast<u16>(bits >> 48 & kHalfSign);
  if (magnitude > u64{0x7FF} << 52) return kHalfNan;
  if (magnitude == u64{0x7FF} << 52) return sign | kHalfInfinity;
  const s64 exponent = static_cast<s64>(magnitude >> 52) - 1023;
  if (exponent > 15) return sign | (rounding == HalfRounding::nearest ? kHalfInfinity : kHalfLargest);
  const bool is_normal = exponent >= -14;
  const u64 shift = is_normal ? 42 : static_cast<u64>(42 - 14 - exponent);
  if (shift > 63) return sign;
  const u64 fraction = magnitude & ((u64{1} << 52) - 1);
  const u64 word = is_normal ? magnitude - (u64{1023 - 15} << 52) : fraction | u64{1} << 52;
  u64 out = word >> shift;
  const u64 rest = word & ((u64{1} << shift) - 1), middle = u64{1} << (shift - 1);
  if (rounding == HalfRounding::nearest && (rest > middle || (rest == middle && (out & 1) != 0))) ++out;
  return static_cast<u16>(sign | out);
}
LULL_INLINE u16 nearest_half(f64 a) { return half_of<HalfRounding::nearest>(a); }

// Sums, products, quotients of 11 bits in 53 are exact, or far enough from the middle of two halves.
template <class F>
struct OfHalves {
  static u16 of(u16 a) { return nearest_half(static_cast<f64>(F::of(widened(a)))); }
  static u16 of(u16 a, u16 b) {
    return nearest_half(F::of(static_cast<f64>(widened(a)), static_cast<f64>(widened(b))));
  }
};
// The product is exact; the sum may lose bits, which its last bit then stands for.
struct FusedHalf {
  static u16 of(u16 a, u16 b, u16 c) {
    const f64 product = static_cast<f64>(widened(a)) * static_cast<f64>(widened(b)), addend = widened(c);
    const f64 sum = product + addend;
    const f64 part = sum - product;
    const f64 lost = (product - (sum - part)) + (addend - part);
    u64 bits = std::bit_cast<u64>(sum);
    if (lost == lost && lost != 0 && (bits & 1) == 0) bits += (lost > 0) == (sum > 0) ? u64{1} : ~u64{0};
    return nearest_half(std::bit_cast<f64>(bits));
  }
};
struct NegateHalf {
  static u16 of(u16 a) { return a ^ kHalfSign; }
};
struct AbsoluteHalf {
  static u16 of(u16 a) { return a & 0x7FFFU; }
};
template <class F>
struct SelectHalf {  // minimum, maximum: F of the values, both NaN gives the canonical one
  static u16 of(u16 a, u16 b) { return nearest_half(static_cast<f64>(F::of(widened(a), widened(b)))); }
};
template <class F>
struct CompareHalf {
  static bool of(u16 a, u16 b) { return F::of(widened(a), widened(b)); }
};

// The same on both halves of a word.
template <class F>
struct Pair {
  template <class... Word>
  static u32 of(Word... words) {
    return F::of(static_cast<u16>(words)...) | u32{F::of(static_cast<u16>(words >> 16)...)} << 16;
  }
};

struct HalfToReal {
  static f32 of(u16 a) { return widened(a); }
};
template <HalfRounding rounding>
struct RealToHalf {
  static u16 of(f64 a) { return half_of<rounding>(a); }
};
template <HalfRounding rounding>
struct RealsToPair {  // a is the high half
  static u32 of(f32 a, f32 b) {
    return half_of<rounding>(static_cast<f64>(b)) | u32{half_of<rounding>(static_cast<f64>(a))} << 16;
  }
};
template <HalfRounding rounding>
struct RealToBrain {
  static u16 of(f32 a) {
    const u32 bits = std::bit_cast<u32>(a);
    if (a != a) return 0x7FFF;
    return static_cast<u16>((bits + (rounding == HalfRounding::nearest ? 0x7FFFU + (bits >> 16 & 1U) : 0U)) >> 16);
  }
};
template <HalfRounding rounding>
struct RealsToBrains {
  static u32 of(f32 a, f32 b) { return RealToBrain<rounding>::of(b) | u32{RealToBrain<rounding>::of(a)} << 16; }
};
struct BrainToReal {
  static f32 of(u16 a) { return std::bit_cast<f32>(u32{a} << 16); }
};

// .ftz: a subnormal number becomes a zero of its sign. .sat: into [0, 1], NaN becomes +0.
struct Flush {
  static f32 of(f32 a) { return __builtin_fabsf(a) < 0x1p-126F ? __builtin_copysignf(0.0F, a) : a; }
  static u16 of(u16 a) { return (a & kHalfInfinity) == 0 ? static_cast<u16>(a & kHalfSign) : a; }
};
struct Saturate {
  static f32 of(f32 a) { return a > 0 ? (a < 1 ? a : 1.0F) : 0.0F; }
  static f64 of(f64 a) { return a > 0 ? (a < 1 ? a : 1.0) : 0.0; }
  static u16 of(u16 a) { return nearest_half(static_cast<f64>(of(widened(a)))); }
};

}  // namespace
}  // namespace lull::ptx
