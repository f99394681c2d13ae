// Half precision and rounding, bit for bit against oracles that go another way: tables of all halves and exact sums.

#include <cfenv>

#include "tests/driver/ptx/test_operations.h"

namespace lull::ptx::test {
namespace {

// What the bits of a half mean, by the definition of the format.
double value_of_half(u16 half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double sign = (half & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25));
}

// The nearest half, ties to the even one, by search: positive halves are in the order of their bits.
template <class Real>
u16 nearest_half_of(Real value, bool toward_zero = false) {
  if (value != value) return 0x7FFF;
  const u16 sign = std::signbit(value) ? 0x8000 : 0;
  const Real size = std::fabs(value);
  if (std::isinf(size)) return sign | 0x7C00;
  u16 below = 0, above = 0x7C00;  // as if infinity were the next number, 65536
  const auto of = [](u16 half) { return half == 0x7C00 ? Real(65536) : static_cast<Real>(value_of_half(half)); };
  if (size >= Real(65536)) return sign | (toward_zero ? 0x7BFF : 0x7C00);
  while (above - below > 1) {
    const u16 middle = static_cast<u16>((above + below) / 2);
    (of(middle) <= size ? below : above) = middle;
  }
  const Real low = size - of(below), high = of(above) - size;
  const bool up = !toward_zero && (high < low || (high == low && below % 2 == 1));
  return sign | (up ? above : below);
}

std::vector<u16> halves(u64 seed) {
  constexpr std::array<u16, 14> kEdges{0,      0x8000, 1,      0x8001, 0x3FF,  0x400,  0x3C00,
                                       0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3555};
  Random random(seed);
  std::vector<u16> out(kThreads);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = i % 4 == 0 ? kEdges[random.below(kEdges.size())] : static_cast<u16>(random.next());
  return out;
}

// NaN has one set of bits here, so columns are compared as bits.
template <class Oracle>
void half_agrees(const std::string& mnemonic, std::size_t sources, Oracle oracle) {
  for (u64 round = 0; round < 4; ++round) {
    std::vector<std::vector<u16>> in;
    std::vector<Column> columns;
    for (std::size_t s = 0; s < sources; ++s) columns.push_back(column_of(in.emplace_back(halves(round * 10 + s))));
    std::vector<u16> want(kThreads);
    for (std::size_t i = 0; i < kThreads; ++i) want[i] = oracle([&](std::size_t s) { return value_of_half(in[s][i]); });
    verify(mnemonic, column_of(want), columns, round % 2 == 1);
  }
}

TEST_CASE("add, sub and mul of f16 round once to nearest") {
  half_agrees("add.f16", 2, [](auto x) { return nearest_half_of(x(0) + x(1)); });
  half_agrees("add.rn.f16", 2, [](auto x) { return nearest_half_of(x(0) + x(1)); });
  half_agrees("sub.f16", 2, [](auto x) { return nearest_half_of(x(0) - x(1)); });
  half_agrees("mul.f16", 2, [](auto x) { return nearest_half_of(x(0) * x(1)); });
}

TEST_CASE("fma of f16 rounds the exact product and sum once") {
  half_agrees("fma.rn.f16", 3, [](auto x) {
    // 64 bits hold the sum of any product and any half.
    return nearest_half_of(static_cast<long double>(x(0)) * static_cast<long double>(x(1)) +
                           static_cast<long double>(x(2)));
  });
  // A tie that the lost part of the sum decides: 1.5 * 2^-24 more than a half of the last bit.
  const std::vector<u16> a(kThreads, 0x6801), b(kThreads, 0x4800), c(kThreads, 0x0001);
  const auto exact =
      static_cast<long double>(value_of_half(0x6801)) * 8.0L + static_cast<long double>(value_of_half(1));
  verify("fma.rn.f16", column_of(std::vector<u16>(kThreads, nearest_half_of(exact))),
         {column_of(a), column_of(b), column_of(c)}, false);
}

TEST_CASE("min and max of f16 prefer numbers, their .NaN forms prefer NaN") {
  const auto lesser = [](double a, double b) {
    return a != a ? b : b != b ? a : a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
  };
  half_agrees("min.f16", 2, [&](auto x) { return nearest_half_of(lesser(x(0), x(1))); });
  half_agrees("max.f16", 2, [&](auto x) { return nearest_half_of(-lesser(-x(0), -x(1))); });
  half_agrees("min.NaN.f16", 2,
              [&](auto x) { return x(0) != x(0) || x(1) != x(1) ? u16{0x7FFF} : nearest_half_of(lesser(x(0), x(1))); });
}

TEST_CASE(".ftz of f16 flushes subnormal operands and results, .sat clamps to 0 and 1") {
  const auto flush = [](double value) { return std::fabs(value) < 0x1p-14 ? std::copysign(0.0, value) : value; };
  half_agrees("mul.ftz.f16", 2, [&](auto x) {
    const u16 product = nearest_half_of(flush(x(0)) * flush(x(1)));
    return (product & 0x7C00) == 0 ? static_cast<u16>(product & 0x8000) : product;
  });
  half_agrees("add.sat.f16", 2, [](auto x) {
    const double sum = value_of_half(nearest_half_of(x(0) + x(1)));
    return nearest_half_of(sum > 0 ? std::min(sum, 1.0) : 0.0);
  });
}

TEST_CASE("f16x2 computes both halves of a word") {
  const auto a = halves(1), b = halves(2), c = halves(3), d = halves(4);
  std::vector<u32> left(kThreads), right(kThreads), sum(kThreads), fused(kThreads);
  const auto both = [](u16 low, u16 high) { return u32{low} | u32{high} << 16; };
  for (std::size_t i = 0; i < kThreads; ++i) {
    left[i] = both(a[i], b[i]);
    right[i] = both(c[i], d[i]);
    const double x = value_of_half(a[i]), y = value_of_half(b[i]), u = value_of_half(c[i]), v = value_of_half(d[i]);
    sum[i] = both(nearest_half_of(x + u), nearest_half_of(y + v));
    const auto squared = [](double p, double q) {
      return nearest_half_of(static_cast<long double>(p) * static_cast<long double>(q) + static_cast<long double>(q));
    };
    fused[i] = both(squared(x, u), squared(y, v));
  }
  verify("add.f16x2", column_of(sum), {column_of(left), column_of(right)}, false);
  verify("fma.rn.f16x2", column_of(fused), {column_of(left), column_of(right), column_of(right)}, true);
}

TEST_CASE("comparisons of f16 are those of their values") {
  const auto a = halves(5), b = halves(6);
  const auto compared = [&](const char* name, auto oracle) {
    std::vector<bool> want;
    Column column{"pred", 1, false, {}};
    for (std::size_t i = 0; i < kThreads; ++i)
      column.data.push_back(std::byte{oracle(value_of_half(a[i]), value_of_half(b[i])) ? u8{1} : u8{0}});
    verify(std::string("setp.") + name + ".f16", column, {column_of(a), column_of(b)}, false);
  };
  compared("lt", [](double x, double y) { return x < y; });
  compared("ge", [](double x, double y) { return x >= y; });
  compared("neu", [](double x, double y) { return x != y; });
  compared("nan", [](double x, double y) { return x != x || y != y; });
}

TEST_CASE("f32 and f64 convert to f16 to nearest and toward zero, and back without loss") {
  agrees<u16, float>("cvt.rn.f16.f32", [](float a) { return nearest_half_of(static_cast<double>(a)); });
  agrees<u16, float>("cvt.rz.f16.f32", [](float a) { return nearest_half_of(static_cast<double>(a), true); });
  agrees<u16, double>("cvt.rn.f16.f64", [](double a) { return nearest_half_of(a); });
  const auto all = halves(8);
  std::vector<float> wide(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) wide[i] = static_cast<float>(value_of_half(all[i]));
  verify("cvt.f32.f16", column_of(wide), {column_of(all)}, false);
  // Near ties, where rounding twice would go wrong.
  std::vector<double> ties(kThreads);
  std::vector<u16> rounded(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) {
    const double middle = (value_of_half(static_cast<u16>(i * 80)) + value_of_half(static_cast<u16>(i * 80 + 1))) / 2;
    ties[i] = i % 3 == 0 ? middle : std::nextafter(middle, i % 3 == 1 ? 0.0 : 1e9);
    rounded[i] = nearest_half_of(ties[i]);
  }
  verify("cvt.rn.f16.f64", column_of(rounded), {column_of(ties)}, false);
}

TEST_CASE("integers convert to f16 and back with one rounding") {
  agrees<u16, s32>("cvt.rn.f16.s32", [](s32 a) { return nearest_half_of(static_cast<double>(a)); });
  agrees<u16, u64>("cvt.rn.f16.u64", [](u64 a) { return nearest_half_of(static_cast<long double>(a)); });
  const auto all = halves(9);
  std::vector<s32> whole(kThreads);
  for (std::size_t i = 0; i < kThreads; ++i) {
    const double value = value_of_half(all[i]);
    whole[i] = value != value      ? 0
               : std::isinf(value) ? (value > 0 ? INT32_MAX : INT32_MIN)
                                   : static_cast<s32>(std::nearbyint(value));
  }
  verify("cvt.rni.s32.f16", column_of(whole), {column_of(all)}, false);
}

TEST_CASE("two f32 convert to a pair of halves, the first one high") {
  agrees<u32, float, float>("cvt.rn.f16x2.f32", [](float a, float b) {
    return u32{nearest_half_of(static_cast<double>(b))} | u32{nearest_half_of(static_cast<double>(a))} << 16;
  });
}

TEST_CASE("bf16 is the high half of an f32, rounded to nearest even") {
  const auto brain = [](float a) {
    if (a != a) return u16{0x7FFF};
    const u32 bits = std::bit_cast<u32>(a), low = bits & 0xFFFF;
    const u32 high = bits >> 16;
    return static_cast<u16>(high + (low > 0x8000 || (low == 0x8000 && high % 2 == 1) ? 1 : 0));
  };
  agrees<u16, float>("cvt.rn.bf16.f32", brain);
  agrees<u32, float, float>("cvt.rn.bf16x2.f32", [&](float a, float b) { return u32{brain(b)} | u32{brain(a)} << 16; });
}

// Directed rounding of an exact value to float, by the neighbours of its nearest.
float directed(long double exact, char mode) {
  const auto nearest = static_cast<float>(exact);
  if (nearest != nearest || std::isinf(static_cast<double>(exact))) return nearest;
  const auto wide = static_cast<long double>(nearest);
  const bool down = mode == 'm' || (mode == 'z' && !std::signbit(exact)), up = !down;
  if (down && wide > exact) return std::nextafter(nearest, -HUGE_VALF);
  if (up && wide < exact) return std::nextafter(nearest, HUGE_VALF);
  return nearest;
}

TEST_CASE("rz, rm and rp round products and conversions in their direction") {
  for (const char mode : {'z', 'm', 'p'}) {
    const std::string r = std::string(".r") + mode;
    agrees<float, float, float>("mul" + r + ".f32", [&](float a, float b) {
      const long double exact = static_cast<long double>(a) * static_cast<long double>(b);
      return directed(exact, mode);
    });
    agrees<float, double>("cvt" + r + ".f32.f64",
                          [&](double a) { return directed(static_cast<long double>(a), mode); });
    agrees<float, u64>("cvt" + r + ".f32.u64", [&](u64 a) { return directed(static_cast<long double>(a), mode); });
    agrees<float, s32>("cvt" + r + ".f32.s32", [&](s32 a) { return directed(static_cast<long double>(a), mode); });
  }
}

// Not optimised (meson.build), so nothing moves out of between the modes.
template <class Body>
auto in_mode(int mode, Body body) {
  (void)std::fesetround(mode);
  volatile auto out = body();
  (void)std::fesetround(FE_TONEAREST);
  return static_cast<std::remove_volatile_t<decltype(out)>>(out);
}

TEST_CASE("rz, rm and rp of sums, quotients, roots and fused sums are those of the host") {
  const std::pair<const char*, int> kModes[] = {{".rz", FE_TOWARDZERO}, {".rm", FE_DOWNWARD}, {".rp", FE_UPWARD}};
  for (const auto& [r, mode] : kModes) {
    const std::string suffix = std::string(r) + ".f64";
    agrees<double, double, double>("add" + suffix,
                                   [mode = mode](double a, double b) { return in_mode(mode, [&] { return a + b; }); });
    agrees<double, double, double>("div" + suffix,
                                   [mode = mode](double a, double b) { return in_mode(mode, [&] { return a / b; }); });
    agrees<double, double>("sqrt" + suffix,
                           [mode = mode](double a) { return in_mode(mode, [&] { return std::sqrt(a); }); });
    agrees<double, double>("rcp" + suffix, [mode = mode](double a) { return in_mode(mode, [&] { return 1.0 / a; }); });
    agrees<float, float, float, float>("fma" + std::string(r) + ".f32", [mode = mode](float a, float b, float c) {
      return in_mode(mode, [&] { return std::fma(a, b, c); });
    });
  }
}

TEST_CASE(".ftz and .sat of f32 flush operands and result, and clamp it") {
  const auto flush = [](float a) { return std::fabs(a) < 0x1p-126F ? std::copysign(0.0F, a) : a; };
  const auto clamp = [](float a) { return a > 0 ? std::min(a, 1.0F) : 0.0F; };
  agrees<float, float, float>("mul.ftz.f32", [&](float a, float b) { return flush(flush(a) * flush(b)); });
  agrees<float, float, float>("add.sat.f32", [&](float a, float b) { return clamp(a + b); });
  agrees<float, float, float, float>("fma.rn.ftz.sat.f32", [&](float a, float b, float c) {
    return clamp(flush(std::fma(flush(a), flush(b), flush(c))));
  });
  agrees<float, double>("cvt.rn.ftz.f32.f64", [&](double a) { return flush(static_cast<float>(a)); });
  agrees<bool, float, float>("setp.eq.ftz.f32", [&](float a, float b) { return flush(a) == flush(b); });
}

}  // namespace
}  // namespace lull::ptx::test
