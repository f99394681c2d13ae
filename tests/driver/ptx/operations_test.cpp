// Every lane operation against plain C++, on edge values and on any bits, with all lanes and with every other lane
// active.

#include <cmath>

#include "tests/driver/ptx/test_operations.h"

namespace lull::ptx::test {
namespace {

__extension__ typedef __int128 Wide;  // holds any product of two 64-bit numbers
__extension__ typedef unsigned __int128 WideUnsigned;

template <class T>
std::string name_of_type() {
  const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 's' : 'u';
  return std::string(1, kind) + std::to_string(sizeof(T) * 8);
}

template <class... T, class Body>
void each_type(Body body) {
  (body.template operator()<T>("." + name_of_type<T>()), ...);
}
template <class Body>
void each_integer(Body body) {
  each_type<u16, s16, u32, s32, u64, s64>(body);
}

template <class T>
T high_product(T a, T b) {
  if constexpr (std::is_signed_v<T>)
    return static_cast<T>((static_cast<Wide>(a) * b) >> (sizeof(T) * 8));
  else
    return static_cast<T>((static_cast<WideUnsigned>(a) * b) >> (sizeof(T) * 8));
}
template <class T>
T low_product(T a, T b) {
  return static_cast<T>(static_cast<WideUnsigned>(a) * static_cast<WideUnsigned>(b));
}

// The number wins over NaN, and -0 is less than +0.
template <class T>
T lesser(T a, T b) {
  if (a != a) return b;
  if (b != b) return a;
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}

// Saturates; NaN is 0.
template <class D, class S>
D clamped(S rounded) {
  if (rounded != rounded) return 0;
  const auto wide = static_cast<long double>(rounded);
  if (wide >= static_cast<long double>(std::numeric_limits<D>::max())) return std::numeric_limits<D>::max();
  if (wide <= static_cast<long double>(std::numeric_limits<D>::min())) return std::numeric_limits<D>::min();
  return static_cast<D>(wide);
}

TEST_CASE("integer arithmetic wraps, and its high halves are exact") {
  each_integer([]<class T>(const std::string& type) {
    agrees<T, T, T>("add" + type, [](T a, T b) { return static_cast<T>(static_cast<Wide>(a) + b); });
    agrees<T, T, T>("sub" + type, [](T a, T b) { return static_cast<T>(static_cast<Wide>(a) - b); });
    agrees<T, T, T>("mul.lo" + type, [](T a, T b) { return low_product(a, b); });
    agrees<T, T, T>("mul.hi" + type, [](T a, T b) { return high_product(a, b); });
    agrees<T, T, T, T>("mad.lo" + type,
                       [](T a, T b, T c) { return static_cast<T>(static_cast<Wide>(low_product(a, b)) + c); });
    agrees<T, T, T, T>("mad.hi" + type,
                       [](T a, T b, T c) { return static_cast<T>(static_cast<Wide>(high_product(a, b)) + c); });
    agrees<T, T, T>("min" + type, [](T a, T b) { return std::min(a, b); });
    agrees<T, T, T>("max" + type, [](T a, T b) { return std::max(a, b); });
  });
}

TEST_CASE("division by zero gives all ones and the dividend, the smallest number by -1 wraps") {
  each_integer([]<class T>(const std::string& type) {
    agrees<T, T, T>("div" + type,
                    [](T a, T b) { return b == 0 ? static_cast<T>(-1) : static_cast<T>(static_cast<Wide>(a) / b); });
    agrees<T, T, T>("rem" + type, [](T a, T b) { return b == 0 ? a : static_cast<T>(static_cast<Wide>(a) % b); });
  });
}

TEST_CASE("wide products keep all bits") {
  agrees<u32, u16, u16>("mul.wide.u16", [](u16 a, u16 b) { return u32{a} * b; });
  agrees<s32, s16, s16>("mul.wide.s16", [](s16 a, s16 b) { return s32{a} * b; });
  agrees<u64, u32, u32>("mul.wide.u32", [](u32 a, u32 b) { return u64{a} * b; });
  agrees<s64, s32, s32>("mul.wide.s32", [](s32 a, s32 b) { return s64{a} * b; });
  agrees<u64, u32, u32, u64>("mad.wide.u32", [](u32 a, u32 b, u64 c) { return u64{a} * b + c; });
  agrees<s64, s32, s32, s64>("mad.wide.s32",
                             [](s32 a, s32 b, s64 c) { return static_cast<s64>(static_cast<Wide>(a) * b + c); });
}

TEST_CASE("negation and absolute value wrap at the smallest number") {
  each_type<s16, s32, s64>([]<class T>(const std::string& type) {
    agrees<T, T>("neg" + type, [](T a) { return static_cast<T>(-static_cast<Wide>(a)); });
    agrees<T, T>("abs" + type, [](T a) { return static_cast<T>(a < 0 ? -static_cast<Wide>(a) : a); });
  });
}

TEST_CASE("real arithmetic rounds every operation once") {
  each_type<float, double>([]<class T>(const std::string& type) {
    for (const std::string rounding : {"", ".rn"}) {
      agrees<T, T, T>("add" + rounding + type, [](T a, T b) { return a + b; });
      agrees<T, T, T>("sub" + rounding + type, [](T a, T b) { return a - b; });
      agrees<T, T, T>("mul" + rounding + type, [](T a, T b) { return a * b; });
    }
    agrees<T, T, T, T>("fma.rn" + type, [](T a, T b, T c) { return std::fma(a, b, c); });
    agrees<T, T, T, T>("mad.rn" + type, [](T a, T b, T c) { return std::fma(a, b, c); });
    agrees<T, T, T>("div.rn" + type, [](T a, T b) { return a / b; });
    agrees<T, T, T>("min" + type, [](T a, T b) { return lesser(a, b); });
    agrees<T, T, T>("max" + type, [](T a, T b) { return -lesser(-a, -b); });
    agrees<T, T>("neg" + type, [](T a) { return -a; });
    agrees<T, T>("abs" + type, [](T a) { return std::fabs(a); });
    agrees<T, T>("sqrt.rn" + type, [](T a) { return std::sqrt(a); });
    agrees<T, T>("rcp.rn" + type, [](T a) { return T(1) / a; });
  });
  agrees<float, float, float>("div.full.f32", [](float a, float b) { return a / b; });
  agrees<float, float, float>("div.approx.f32", [](float a, float b) { return a / b; });
  agrees<float, float>("rsqrt.approx.f32",
                       [](float a) { return static_cast<float>(1 / std::sqrt(static_cast<double>(a))); });
  agrees<float, float>("ex2.approx.f32", [](float a) { return std::exp2(a); });
  agrees<float, float>("lg2.approx.f32", [](float a) { return std::log2(a); });
  agrees<float, float>("sin.approx.f32", [](float a) { return std::sin(a); });
  agrees<float, float>("cos.approx.f32", [](float a) { return std::cos(a); });
}

TEST_CASE("bitwise operations, counts and reversals") {
  each_type<u16, u32, u64>([]<class T>(const std::string& type) {
    const std::string bits = ".b" + type.substr(2);
    agrees<T, T, T>("and" + bits, [](T a, T b) { return a & b; });
    agrees<T, T, T>("or" + bits, [](T a, T b) { return a | b; });
    agrees<T, T, T>("xor" + bits, [](T a, T b) { return a ^ b; });
    agrees<T, T>("not" + bits, [](T a) { return ~a; });
    agrees<T, T>("cnot" + bits, [](T a) { return a == 0 ? 1 : 0; });
    agrees<T, T, T, bool>("selp" + bits, [](T a, T b, bool c) { return c ? a : b; });
  });
  each_type<u32, u64>([]<class T>(const std::string& type) {
    const std::string bits = ".b" + type.substr(2);
    agrees<u32, T>("popc" + bits, [](T a) { return std::popcount(a); });
    agrees<u32, T>("clz" + bits, [](T a) { return std::countl_zero(a); });
    agrees<T, T>("brev" + bits, [](T a) {
      T out = 0;
      for (T rest = a, place = 1; place != 0; place = static_cast<T>(place << 1), rest = static_cast<T>(rest >> 1))
        out = static_cast<T>((out << 1) | (rest & 1));
      return out;
    });
  });
  agrees<bool, bool, bool>("and.pred", [](bool a, bool b) { return a && b; });
  agrees<bool, bool, bool>("or.pred", [](bool a, bool b) { return a || b; });
  agrees<bool, bool, bool>("xor.pred", [](bool a, bool b) { return a != b; });
  agrees<bool, bool>("not.pred", [](bool a) { return !a; });
}

TEST_CASE("shifts past the width clear, or fill with the sign") {
  each_type<u16, u32, u64>([]<class T>(const std::string& type) {
    constexpr unsigned width = sizeof(T) * 8;
    using Signed = std::make_signed_t<T>;
    const std::string bits = type.substr(2);
    agrees<T, T, u32>("shl.b" + bits, [](T a, u32 n) { return n < width ? static_cast<T>(u64{a} << n) : T(0); });
    agrees<T, T, u32>("shr.u" + bits, [](T a, u32 n) { return n < width ? static_cast<T>(a >> n) : T(0); });
    agrees<T, T, u32>("shr.b" + bits, [](T a, u32 n) { return n < width ? static_cast<T>(a >> n) : T(0); });
    agrees<Signed, Signed, u32>("shr.s" + bits,
                                [](Signed a, u32 n) { return static_cast<Signed>(a >> std::min(n, width - 1)); });
  });
  const auto joined = [](u32 a, u32 b) { return (u64{b} << 32) | a; };
  agrees<u32, u32, u32, u32>("shf.l.wrap.b32", [&](u32 a, u32 b, u32 c) { return (joined(a, b) << (c % 32)) >> 32; });
  agrees<u32, u32, u32, u32>("shf.r.wrap.b32", [&](u32 a, u32 b, u32 c) { return joined(a, b) >> (c % 32); });
  agrees<u32, u32, u32, u32>("shf.l.clamp.b32",
                             [&](u32 a, u32 b, u32 c) { return (joined(a, b) << std::min(c, 32U)) >> 32; });
  agrees<u32, u32, u32, u32>("shf.r.clamp.b32", [&](u32 a, u32 b, u32 c) { return joined(a, b) >> std::min(c, 32U); });
}

TEST_CASE("comparisons of integers, and of reals with and without NaN") {
  each_integer([]<class T>(const std::string& type) {
    agrees<bool, T, T>("setp.eq" + type, [](T a, T b) { return a == b; });
    agrees<bool, T, T>("setp.ne" + type, [](T a, T b) { return a != b; });
    agrees<bool, T, T>("setp.lt" + type, [](T a, T b) { return a < b; });
    agrees<bool, T, T>("setp.le" + type, [](T a, T b) { return a <= b; });
    agrees<bool, T, T>("setp.gt" + type, [](T a, T b) { return a > b; });
    agrees<bool, T, T>("setp.ge" + type, [](T a, T b) { return a >= b; });
  });
  each_type<u16, u32, u64>([]<class T>(const std::string& type) {
    agrees<bool, T, T>("setp.lo" + type, [](T a, T b) { return a < b; });
    agrees<bool, T, T>("setp.ls" + type, [](T a, T b) { return a <= b; });
    agrees<bool, T, T>("setp.hi" + type, [](T a, T b) { return a > b; });
    agrees<bool, T, T>("setp.hs" + type, [](T a, T b) { return a >= b; });
    agrees<bool, T, T>("setp.eq.b" + type.substr(2), [](T a, T b) { return a == b; });
  });
  each_type<float, double>([]<class T>(const std::string& type) {
    const auto nan = [](T a, T b) { return a != a || b != b; };
    agrees<bool, T, T>("setp.eq" + type, [](T a, T b) { return a == b; });
    agrees<bool, T, T>("setp.ne" + type, [=](T a, T b) { return !nan(a, b) && a != b; });
    agrees<bool, T, T>("setp.lt" + type, [](T a, T b) { return a < b; });
    agrees<bool, T, T>("setp.ge" + type, [](T a, T b) { return a >= b; });
    agrees<bool, T, T>("setp.equ" + type, [=](T a, T b) { return nan(a, b) || a == b; });
    agrees<bool, T, T>("setp.neu" + type, [](T a, T b) { return a != b; });
    agrees<bool, T, T>("setp.ltu" + type, [=](T a, T b) { return nan(a, b) || a < b; });
    agrees<bool, T, T>("setp.leu" + type, [=](T a, T b) { return nan(a, b) || a <= b; });
    agrees<bool, T, T>("setp.gtu" + type, [=](T a, T b) { return nan(a, b) || a > b; });
    agrees<bool, T, T>("setp.geu" + type, [=](T a, T b) { return nan(a, b) || a >= b; });
    agrees<bool, T, T>("setp.num" + type, [=](T a, T b) { return !nan(a, b); });
    agrees<bool, T, T>("setp.nan" + type, [=](T a, T b) { return nan(a, b); });
  });
}

TEST_CASE("a comparison combines with a predicate") {
  agrees<bool, s32, s32, bool>("setp.lt.and.s32", [](s32 a, s32 b, bool c) { return a < b && c; });
  agrees<bool, s32, s32, bool>("setp.lt.or.s32", [](s32 a, s32 b, bool c) { return a < b || c; });
  agrees<bool, float, float, bool>("setp.gt.xor.f32", [](float a, float b, bool c) { return (a > b) != c; });
}

TEST_CASE("integers convert to every width by truncation, sign and zero extension") {
  each_integer([]<class S>(const std::string& source) {
    each_integer([&]<class D>(const std::string& target) {
      agrees<D, S>("cvt" + target + source, [](S a) { return static_cast<D>(a); });
    });
    // A byte lives in a wider register, filled by its sign.
    agrees<u32, S>("cvt.u8" + source, [](S a) { return static_cast<std::uint8_t>(a); });
    agrees<s32, S>("cvt.s8" + source, [](S a) { return s32{static_cast<s8>(a)}; });
  });
  agrees<s64, u32>("cvt.s16.u32", [](u32 a) { return s64{static_cast<s16>(a)}; });
  agrees<u64, u64>("cvt.u32.u8", [](u64 a) { return a & 0xFF; });
}

TEST_CASE("reals convert with the named rounding and saturate") {
  each_integer([]<class I>(const std::string& integer) {
    each_type<float, double>([&]<class R>(const std::string& real) {
      agrees<R, I>("cvt.rn" + real + integer, [](I a) { return static_cast<R>(a); });
      agrees<I, R>("cvt.rni" + integer + real, [](R a) { return clamped<I>(std::nearbyint(a)); });
      agrees<I, R>("cvt.rzi" + integer + real, [](R a) { return clamped<I>(std::trunc(a)); });
      agrees<I, R>("cvt.rmi" + integer + real, [](R a) { return clamped<I>(std::floor(a)); });
      agrees<I, R>("cvt.rpi" + integer + real, [](R a) { return clamped<I>(std::ceil(a)); });
    });
  });
  agrees<s32, float>("cvt.rzi.s8.f32", [](float a) { return s32{clamped<s8>(std::trunc(a))}; });
  agrees<double, float>("cvt.f64.f32", [](float a) { return static_cast<double>(a); });
  agrees<float, double>("cvt.rn.f32.f64", [](double a) { return static_cast<float>(a); });
  agrees<float, float>("cvt.rmi.f32.f32", [](float a) { return std::floor(a); });
  agrees<double, double>("cvt.rni.f64.f64", [](double a) { return std::nearbyint(a); });
}

TEST_CASE("halves of a register are packed and taken apart") {
  const std::vector<u64> in = inputs<u64>(kThreads, 9);
  std::vector<u64> out(kThreads);
  const auto* const text = R"(.entry k(.param .u64 in, .param .u64 out) {
  .reg .b64 %d<5>; .reg .b32 %r<4>; .reg .b16 %h<3>;
  ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out];
  mov.u32 %r1, %tid.x; mul.wide.u32 %d3, %r1, 8; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3;
  ld.global.u64 %d4, [%d1];
  mov.b64 {%r1, %r2}, %d4; mov.b32 {%h1, %h2}, %r1; mov.b32 %r1, {%h2, %h1}; mov.b64 %d4, {%r2, %r1};
  st.global.u64 [%d2], %d4; })";
  REQUIRE(run_text(text, 1, kThreads, in.data(), out.data()) == Outcome::ok);
  for (std::size_t i = 0; i < kThreads; ++i)
    CHECK(out[i] == ((in[i] >> 32) | (u64{std::rotl(static_cast<u32>(in[i]), 16)} << 32)));
}

}  // namespace
}  // namespace lull::ptx::test
