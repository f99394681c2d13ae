#pragma once

// Fields, bytes and carries: the integer operations of PTX that C++ has no operator for.

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

struct SumOfDifferences {
  template <class T>
  static T of(T a, T b, T c) {
    return static_cast<T>(static_cast<u64>(c) + (a < b ? static_cast<u64>(b) - static_cast<u64>(a)
                                                       : static_cast<u64>(a) - static_cast<u64>(b)));
  }
};

// The low 24 bits of an operand, with its sign.
template <class T>
LULL_INLINE s64 low24(T a) {
  if constexpr (kSigned<T>) return static_cast<s32>(static_cast<u32>(a) << 8) >> 8;
  return static_cast<s64>(a & 0xFFFFFFU);
}
template <unsigned shift>  // of the 48-bit product: 0 for .lo, 16 for .hi
struct Multiply24 {
  template <class T>
  static T of(T a, T b) {
    return static_cast<T>((low24(a) * low24(b)) >> shift);
  }
  template <class T>
  static T of(T a, T b, T c) {
    return static_cast<T>(static_cast<u32>(of(a, b)) + static_cast<u32>(c));
  }
};

// Sums that stop at the ends of their type.
struct SaturatingAdd {
  static s32 of(s32 a, s32 b) {
    const s64 sum = s64{a} + b;
    return static_cast<s32>(sum > INT32_MAX ? s64{INT32_MAX} : sum < INT32_MIN ? s64{INT32_MIN} : sum);
  }
};
struct SaturatingSubtract {
  static s32 of(s32 a, s32 b) {
    const s64 difference = s64{a} - b;
    return static_cast<s32>(difference > INT32_MAX   ? s64{INT32_MAX}
                            : difference < INT32_MIN ? s64{INT32_MIN}
                                                     : difference);
  }
};
struct SaturatingHighAdd {
  static s32 of(s32 a, s32 b, s32 c) { return SaturatingAdd::of(MultiplyHigh::of(a, b), c); }
};

// Of a field that starts at bit b and has c bits; only the low bytes of both count.
struct ExtractField {
  template <class T>
  static T of(T a, u32 b, u32 c) {
    const unsigned start = b & 255U, length = c & 255U;
    if (length == 0) return T(0);
    const unsigned last = start + length - 1 < kBits<T> ? start + length - 1 : kBits<T> - 1;
    const bool sign = kSigned<T> && ((static_cast<u64>(a) >> last) & 1U) != 0;
    const unsigned taken = start > last ? 0 : last - start + 1;
    const u64 word = static_cast<u64>(static_cast<std::make_unsigned_t<T>>(a));
    const u64 mask = taken >= 64 ? ~u64{0} : (u64{1} << taken) - 1;
    const u64 field = taken == 0 ? 0 : (word >> start) & mask;
    return static_cast<T>(sign ? field | ~mask : field);
  }
};
struct InsertField {
  template <class T>
  static T of(T a, T b, u32 c, u32 d) {
    const unsigned start = c & 255U, length = d & 255U;
    if (length == 0 || start >= kBits<T>) return b;
    const u64 mask = (length >= 64 ? ~u64{0} : (u64{1} << length) - 1) << start;
    return static_cast<T>((static_cast<u64>(b) & ~mask) | ((static_cast<u64>(a) << start) & mask));
  }
};
struct FieldMask {  // bmsk.clamp
  static u32 of(u32 a, u32 b) {
    if (a >= 32 || b == 0) return 0;
    return (b >= 32 ? ~0U : (1U << b) - 1) << a;
  }
};
struct FieldMaskWrapped {
  static u32 of(u32 a, u32 b) {
    const u32 length = b & 31U;
    return ((1U << length) - 1) << (a & 31U);
  }
};

// The highest bit that differs from the sign; all ones if there is none.
struct HighestBit {
  template <class T>
  static u32 of(T a) {
    if constexpr (kSigned<T>)
      if (a < 0) return of(static_cast<std::make_unsigned_t<T>>(~a));
    const u64 word = static_cast<u64>(static_cast<std::make_unsigned_t<T>>(a));
    return word == 0 ? ~0U : 63U - static_cast<u32>(__builtin_clzll(word));
  }
};
template <class T>
struct ShiftToHighestBit {  // bfind.shiftamt
  static u32 of(T a) {
    const u32 bit = HighestBit::of(a);
    return bit == ~0U ? bit : kBits<T> - 1 - bit;
  }
};

// prmt: each nibble of c names a byte of b:a, its high bit asks for the sign of it.
struct Permute {
  static u32 of(u32 a, u32 b, u32 c) {
    const u64 bytes = u64{b} << 32 | a;
    u32 out = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const u32 choice = c >> (i * 4) & 15U;
      const u32 byte = static_cast<u32>(bytes >> ((choice & 7U) * 8)) & 255U;
      out |= ((choice & 8U) != 0 ? (byte >> 7) * 255U : byte) << (i * 8);
    }
    return out;
  }
};
// Modes of prmt: for each value of the low two bits of c, the nibbles that mode stands for.
template <u32 for0, u32 for1, u32 for2, u32 for3>
struct PermuteMode {
  static u32 of(u32 a, u32 b, u32 c) {
    constexpr u32 choices[] = {for0, for1, for2, for3};
    return Permute::of(a, b, choices[c & 3U]);
  }
};
using Forward4 = PermuteMode<0x3210, 0x4321, 0x5432, 0x6543>;
using Backward4 = PermuteMode<0x5670, 0x6701, 0x7012, 0x0123>;
using Replicate8 = PermuteMode<0x0000, 0x1111, 0x2222, 0x3333>;
using EdgeLeft = PermuteMode<0x3210, 0x3211, 0x3222, 0x3333>;
using EdgeRight = PermuteMode<0x0000, 0x1110, 0x2210, 0x3210>;
using Replicate16 = PermuteMode<0x1010, 0x3232, 0x1010, 0x3232>;

// Dot products of four bytes, or of two words with two bytes; signs as the types say.
template <class A, class B>
struct DotBytes {
  static u32 of(u32 a, u32 b, u32 c) {
    for (unsigned i = 0; i < 4; ++i)
      c += static_cast<u32>(s32{static_cast<A>(a >> (i * 8))} * s32{static_cast<B>(b >> (i * 8))});
    return c;
  }
};
template <class A, class B, unsigned first>  // first byte of b: 0 for .lo, 2 for .hi
struct DotWords {
  static u32 of(u32 a, u32 b, u32 c) {
    for (unsigned i = 0; i < 2; ++i)
      c += static_cast<u32>(s64{static_cast<A>(a >> (i * 16))} * s64{static_cast<B>(b >> ((i + first) * 8))});
    return c;
  }
};

struct CopySign {  // the sign of a, the rest of b
  static f32 of(f32 a, f32 b) { return __builtin_copysignf(b, a); }
  static f64 of(f64 a, f64 b) { return __builtin_copysign(b, a); }
};

template <class T>
inline constexpr T kSmallestNormal = static_cast<T>(2.2250738585072014e-308);
template <>
inline constexpr f32 kSmallestNormal<f32> = 0x1p-126F;
struct IsFinite {
  template <class T>
  static bool of(T a) {
    return a - a == T(0);
  }
};
struct IsInfinite {
  template <class T>
  static bool of(T a) {
    return a == a && !IsFinite::of(a);
  }
};
struct IsNumber {
  template <class T>
  static bool of(T a) {
    return a == a;
  }
};
struct IsNotNumber {
  template <class T>
  static bool of(T a) {
    return a != a;
  }
};
struct IsNormal {
  template <class T>
  static bool of(T a) {
    return IsFinite::of(a) && RealAbsolute::of(a) >= kSmallestNormal<T>;
  }
};
struct IsSubnormal {
  template <class T>
  static bool of(T a) {
    return a != T(0) && RealAbsolute::of(a) < kSmallestNormal<T>;
  }
};

// Bit i of the table is the answer where a, b and c have the bits of i, a highest.
inline void logic3(Frame& frame, const Instruction& in) {
  u32* const d = row<u32>(frame, in.row[0]);
  const u32 *const a = row<u32>(frame, in.row[1]), *const b = row<u32>(frame, in.row[2]),
                   *const c = row<u32>(frame, in.row[3]);
  u32 table[8];
  for (unsigned i = 0; i < 8; ++i) table[i] = (in.immediate >> i & 1) != 0 ? ~0U : 0U;
  each_lane(frame, [=](std::size_t i) {
    const u32 low = (a[i] & ((b[i] & ((c[i] & table[7]) | (~c[i] & table[6]))) |
                             (~b[i] & ((c[i] & table[5]) | (~c[i] & table[4])))));
    d[i] = low | (~a[i] & ((b[i] & ((c[i] & table[3]) | (~c[i] & table[2]))) |
                           (~b[i] & ((c[i] & table[1]) | (~c[i] & table[0])))));
  });
}

template <class T>
void extract_field(Frame& frame, const Instruction& in) {
  T* const d = row<T>(frame, in.row[0]);
  const T* const a = row<T>(frame, in.row[1]);
  const u32 *const b = row<u32>(frame, in.row[2]), *const c = row<u32>(frame, in.row[3]);
  each_lane(frame, [=](std::size_t i) { d[i] = ExtractField::of(a[i], b[i], c[i]); });
}
template <class T>
void insert_field(Frame& frame, const Instruction& in) {
  T* const d = row<T>(frame, in.row[0]);
  const T *const a = row<T>(frame, in.row[1]), *const b = row<T>(frame, in.row[2]);
  const u32 *const c = row<u32>(frame, in.row[3]), *const e = row<u32>(frame, in.row[4]);
  each_lane(frame, [=](std::size_t i) { d[i] = InsertField::of(a[i], b[i], c[i], e[i]); });
}

// Sums and differences of many words: row 4 is the carry flag of the lane, a byte of 0 or 1.
struct Carries {
  template <class T>
  static bool add(T a, T b, bool carry, T& out) {
    const bool first = __builtin_add_overflow(a, b, &out);
    return __builtin_add_overflow(out, T(carry ? 1 : 0), &out) || first;
  }
};
struct CarryAdd {
  template <class T>
  static bool of(T a, T b, T, bool carry, T& out) {
    return Carries::add(a, b, carry, out);
  }
};
struct CarrySubtract {
  template <class T>
  static bool of(T a, T b, T, bool borrow, T& out) {
    const bool first = __builtin_sub_overflow(a, b, &out);
    return __builtin_sub_overflow(out, T(borrow ? 1 : 0), &out) || first;
  }
};
struct CarryMultiplyAdd {
  template <class T>
  static bool of(T a, T b, T c, bool carry, T& out) {
    return Carries::add(Multiply::of(a, b), c, carry, out);
  }
};
struct CarryMultiplyHighAdd {
  template <class T>
  static bool of(T a, T b, T c, bool carry, T& out) {
    return Carries::add(MultiplyHigh::of(a, b), c, carry, out);
  }
};
enum class Carry : u8 { out, in, both };
template <class T, class F, Carry carry>
void with_carry(Frame& frame, const Instruction& in) {
  T* const d = row<T>(frame, in.row[0]);
  const T *const a = row<T>(frame, in.row[1]), *const b = row<T>(frame, in.row[2]), *const c = row<T>(frame, in.row[3]);
  u8* const flag = row<u8>(frame, in.row[4]);
  each_lane(frame, [=](std::size_t i) {
    T result;
    const bool carried = F::of(a[i], b[i], c[i], carry != Carry::out && flag[i] != 0, result);
    d[i] = result;
    if constexpr (carry != Carry::in) flag[i] = carried ? 1 : 0;
  });
}

}  // namespace
}  // namespace lull::ptx
