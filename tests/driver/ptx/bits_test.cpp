// Fields, bytes, carries and the instructions that are put together from others, against plain C++.

#include "tests/driver/ptx/test_operations.h"

namespace lull::ptx::test {
namespace {

__extension__ typedef unsigned __int128 Wide;

TEST_CASE("bfe extracts a field, bit by bit, and repeats its sign bit if signed") {
  const auto field = [](auto a, u32 b, u32 c) {
    using T = decltype(a);
    const unsigned bits = sizeof(T) * 8, start = b & 255, length = c & 255;
    const bool sign = std::is_signed_v<T> && length != 0 &&
                      ((static_cast<u64>(a) >> std::min(start + length - 1, bits - 1)) & 1) != 0;
    u64 out = 0;
    for (unsigned i = 0; i < bits; ++i) {
      const bool bit = i < length && start + i < bits ? ((static_cast<u64>(a) >> (start + i)) & 1) != 0 : sign;
      out |= u64{bit ? 1U : 0U} << i;
    }
    return static_cast<T>(out);
  };
  agrees<u32, u32, u32, u32>("bfe.u32", field);
  agrees<s32, s32, u32, u32>("bfe.s32", field);
  agrees<u64, u64, u32, u32>("bfe.u64", field);
  agrees<s64, s64, u32, u32>("bfe.s64", field);
}

TEST_CASE("bfi inserts a field, bit by bit") {
  const auto field = [](auto a, auto b, u32 c, u32 d) {
    const unsigned bits = sizeof(a) * 8, start = c & 255, length = d & 255;
    for (unsigned i = 0; i < length && start + i < bits; ++i) {
      using T = decltype(a);
      const T one = static_cast<T>(T{1} << (start + i));
      b = static_cast<T>((a >> i & 1) != 0 ? b | one : b & ~one);
    }
    return b;
  };
  agrees<u32, u32, u32, u32, u32>("bfi.b32", field);
  agrees<u64, u64, u64, u32, u32>("bfi.b64", field);
}

TEST_CASE("bfind names the highest bit that is not the sign") {
  const auto highest = [](auto a) {
    using T = decltype(a);
    const bool inverted = std::is_signed_v<T> && a < T(0);
    for (unsigned i = sizeof(T) * 8; i-- > 0;)
      if (((static_cast<u64>(a) >> i & 1) != 0) != inverted) return i;
    return ~0U;
  };
  agrees<u32, u32>("bfind.u32", highest);
  agrees<u32, s32>("bfind.s32", highest);
  agrees<u32, u64>("bfind.u64", highest);
  agrees<u32, s64>("bfind.s64", highest);
  agrees<u32, u32>("bfind.shiftamt.u32", [&](u32 a) { return a == 0 ? ~0U : 31 - highest(a); });
}

TEST_CASE("prmt picks bytes, or their signs, and its modes pick them by a number") {
  const auto pick = [](u32 a, u32 b, u32 choices) {
    u32 out = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const u32 nibble = choices >> 4 * i & 15;
      const u32 byte = (nibble & 4) != 0 ? b >> 8 * (nibble & 3) & 255 : a >> 8 * (nibble & 3) & 255;
      out |= ((nibble & 8) != 0 ? (byte >= 128 ? 255U : 0U) : byte) << 8 * i;
    }
    return out;
  };
  agrees<u32, u32, u32, u32>("prmt.b32", pick);
  agrees<u32, u32, u32, u32>("prmt.b32.f4e",
                             [&](u32 a, u32 b, u32 c) { return pick(a, b, 0x3210 + (c & 3) * 0x1111); });
  agrees<u32, u32, u32, u32>("prmt.b32.rc8", [&](u32 a, u32 b, u32 c) { return pick(a, b, (c & 3) * 0x1111); });
  agrees<u32, u32, u32, u32>("prmt.b32.rc16",
                             [&](u32 a, u32 b, u32 c) { return pick(a, b, (c & 1) != 0 ? 0x3232 : 0x1010); });
}

TEST_CASE("lop3 answers by its table") {
  for (const u32 table : {0x80U, 0xFEU, 0x96U, 0xE8U, 0xCAU, 0x1BU}) {
    const std::string text =
        ".entry k(.param .u64 p) { .reg .b32 %r<9>; .reg .b64 %rd<3>; ld.param.u64 %rd0, [p];\n"
        "mov.u32 %r0, 0xF0F0A5C3; mov.u32 %r1, 0xCCCC3C99; mov.u32 %r2, 0xAAAA0FF1;\n"
        "lop3.b32 %r3, %r0, %r1, %r2, " +
        std::to_string(table) + "; st.global.u32 [%rd0], %r3; ret; }";
    u32 out = 0, want = 0;
    REQUIRE(run_text(text, 1, 1, &out) == Outcome::ok);
    for (unsigned i = 0; i < 32; ++i) {
      const u32 row = (0xF0F0A5C3U >> i & 1) * 4 + (0xCCCC3C99U >> i & 1) * 2 + (0xAAAA0FF1U >> i & 1);
      want |= (table >> row & 1) << i;
    }
    CHECK(out == want);
  }
}

TEST_CASE("sad adds the absolute difference, mul24 and mad24 multiply 24 bits") {
  agrees<u32, u32, u32, u32>("sad.u32", [](u32 a, u32 b, u32 c) { return c + (a < b ? b - a : a - b); });
  agrees<s64, s64, s64, s64>("sad.s64", [](s64 a, s64 b, s64 c) {
    return static_cast<s64>(static_cast<u64>(c) + (a < b ? static_cast<u64>(b) - static_cast<u64>(a)
                                                         : static_cast<u64>(a) - static_cast<u64>(b)));
  });
  agrees<u32, u32, u32>("mul24.lo.u32",
                        [](u32 a, u32 b) { return static_cast<u32>(u64{a & 0xFFFFFF} * (b & 0xFFFFFF)); });
  agrees<u32, u32, u32>("mul24.hi.u32",
                        [](u32 a, u32 b) { return static_cast<u32>(u64{a & 0xFFFFFF} * (b & 0xFFFFFF) >> 16); });
  const auto low = [](s32 a) { return s64{(a & 0x800000) != 0 ? (a & 0xFFFFFF) - 0x1000000 : a & 0xFFFFFF}; };
  agrees<s32, s32, s32, s32>("mad24.lo.s32", [&](s32 a, s32 b, s32 c) {
    return static_cast<s32>(static_cast<u32>(low(a) * low(b)) + static_cast<u32>(c));
  });
}

TEST_CASE("sums that saturate stop at the ends of s32") {
  const auto clamp = [](s64 a) { return static_cast<s32>(std::clamp<s64>(a, INT32_MIN, INT32_MAX)); };
  agrees<s32, s32, s32>("add.sat.s32", [&](s32 a, s32 b) { return clamp(s64{a} + b); });
  agrees<s32, s32, s32>("sub.sat.s32", [&](s32 a, s32 b) { return clamp(s64{a} - b); });
}

TEST_CASE("dp4a and dp2a sum products of bytes") {
  agrees<u32, u32, u32, u32>("dp4a.s32.u32", [](u32 a, u32 b, u32 c) {
    for (unsigned i = 0; i < 32; i += 8)
      c += static_cast<u32>(static_cast<s8>(a >> i) * static_cast<int>(b >> i & 255));
    return c;
  });
  agrees<u32, u32, u32, u32>("dp2a.hi.u32.s32", [](u32 a, u32 b, u32 c) {
    return c + (a & 0xFFFF) * static_cast<u32>(s32{static_cast<s8>(b >> 16)}) +
           (a >> 16) * static_cast<u32>(s32{static_cast<s8>(b >> 24)});
  });
}

TEST_CASE("add.cc and addc carry from word to word, sub.cc and subc borrow") {
  constexpr std::string_view kText = R"(.entry k(.param .u64 p) { .reg .b32 %r<20>; .reg .b64 %rd<9>;
    ld.param.u64 %rd0, [p]; mov.u32 %r0, %tid.x; mul.wide.u32 %rd1, %r0, 64; add.u64 %rd0, %rd0, %rd1;
    ld.global.v2.u64 {%rd1, %rd2}, [%rd0]; ld.global.v2.u64 {%rd3, %rd4}, [%rd0+16];
    add.cc.u64 %rd5, %rd1, %rd3; addc.u64 %rd6, %rd2, %rd4; st.global.v2.u64 [%rd0+32], {%rd5, %rd6};
    sub.cc.u64 %rd5, %rd1, %rd3; subc.u64 %rd6, %rd2, %rd4; st.global.v2.u64 [%rd0+48], {%rd5, %rd6}; ret; })";
  struct Case {
    Wide a, b, sum, difference;
  };
  std::vector<Case> cases(kThreads);
  Random random(3);
  for (Case& each : cases) {
    const auto word = [&] { return random.below(4) == 0 ? ~u64{0} : random.below(4) == 0 ? 0 : random.next(); };
    each = {Wide{word()} << 64 | word(), Wide{word()} << 64 | word(), 0, 0};
  }
  REQUIRE(run_text(kText, 1, kThreads, cases.data()) == Outcome::ok);
  for (const Case& each : cases) {
    CHECK((each.sum == each.a + each.b));
    CHECK((each.difference == each.a - each.b));
  }
}

TEST_CASE("mad.lo.cc and madc.hi multiply into two words") {
  constexpr std::string_view kText = R"(.entry k(.param .u64 p) { .reg .b32 %r<9>; .reg .b64 %rd<9>;
    ld.param.u64 %rd0, [p]; ld.global.v2.u64 {%rd1, %rd2}, [%rd0]; ld.global.v2.u64 {%rd3, %rd4}, [%rd0+16];
    mad.lo.cc.u64 %rd5, %rd1, %rd2, %rd3; madc.hi.u64 %rd6, %rd1, %rd2, %rd4; st.global.v2.u64 [%rd0], {%rd5, %rd6}; ret; })";
  alignas(16) std::array<u64, 4> words{0xFEDCBA9876543210, 0xFFFFFFFFFFFFFFF1, 0xFFFFFFFFFFFFFFFF, 77};
  const Wide want = Wide{words[0]} * words[1] + (Wide{words[3]} << 64 | words[2]);
  REQUIRE(run_text(kText, 1, 1, words.data()) == Outcome::ok);
  CHECK((words[0] == static_cast<u64>(want) && words[1] == static_cast<u64>(want >> 64)));
}

TEST_CASE("set answers with all ones or 1.0, slct selects by a sign") {
  agrees<u32, s32, s32>("set.lt.u32.s32", [](s32 a, s32 b) { return a < b ? ~0U : 0U; });
  agrees<float, u64, u64>("set.ne.f32.u64", [](u64 a, u64 b) { return a != b ? 1.0F : 0.0F; });
  agrees<u64, u64, u64, s32>("slct.u64.s32", [](u64 a, u64 b, s32 c) { return c >= 0 ? a : b; });
  agrees<float, float, float, float>("slct.f32.f32", [](float a, float b, float c) { return c >= 0 ? a : b; });
}

TEST_CASE("testp tells kinds of numbers, copysign takes the sign of its first operand") {
  agrees<bool, float>("testp.finite.f32", [](float a) { return std::isfinite(a); });
  agrees<bool, float>("testp.infinite.f32", [](float a) { return std::isinf(a); });
  agrees<bool, double>("testp.notanumber.f64", [](double a) { return std::isnan(a); });
  agrees<bool, double>("testp.normal.f64", [](double a) { return std::isnormal(a); });
  agrees<bool, float>("testp.subnormal.f32", [](float a) { return std::fpclassify(a) == FP_SUBNORMAL; });
  agrees<float, float, float>("copysign.f32", [](float a, float b) { return std::copysign(b, a); });
}

TEST_CASE("cvt.sat clamps integers into the type it converts to") {
  agrees<s32, s32>("cvt.sat.s8.s32", [](s32 a) { return std::clamp(a, -128, 127); });
  agrees<u32, s32>("cvt.sat.u16.s32", [](s32 a) { return static_cast<u32>(std::clamp(a, 0, 65535)); });
  agrees<u32, u64>("cvt.sat.u32.u64", [](u64 a) { return static_cast<u32>(std::min<u64>(a, UINT32_MAX)); });
  agrees<s64, u64>("cvt.sat.s64.u64", [](u64 a) { return static_cast<s64>(std::min<u64>(a, INT64_MAX)); });
  agrees<u64, s64>("cvt.sat.u64.s64", [](s64 a) { return static_cast<u64>(std::max<s64>(a, 0)); });
}

TEST_CASE("bmsk makes a mask of a field") {
  agrees<u32, u32, u32>("bmsk.clamp.b32", [](u32 a, u32 b) {
    u32 out = 0;
    for (u64 i = a; i < std::min<u64>(u64{a} + b, 32); ++i) out |= 1U << i;
    return out;
  });
}

}  // namespace
}  // namespace lull::ptx::test
