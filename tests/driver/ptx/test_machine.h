#pragma once

// What the tests of the interpreter share: parse or fail, launch, and inputs that are the same in every run.

#include <doctest/doctest.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/test_kernels.h"

namespace lull::ptx::test {

// The module of a text that must be right, header added.
inline Module module_of(std::string_view text) {
  auto parsed = parse(std::string(kHeader) + std::string(text));
  if (const auto* const error = std::get_if<Error>(&parsed))
    FAIL(error->line, ":", error->column, ": ", error->message, " in\n", std::string(text));
  return std::get<Module>(std::move(parsed));
}

// Runs the first kernel of the text.
template <class... T>
Outcome run_text(std::string_view text, unsigned blocks, unsigned threads, T... arguments) {
  const Module module = module_of(text);
  const Arguments flat(arguments...);
  return run(module, module.kernels.at(0),
             {.grid = {blocks, 1, 1}, .block = {threads, 1, 1}, .parameters = flat.data()});
}

// splitmix64: the same numbers in every run.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }

 private:
  std::uint64_t state_;
};

// The values at which arithmetic goes wrong, then any bits, then small numbers.
template <class T>
std::vector<T> inputs(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<T> edges;
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_same_v<T, bool>)
    edges = {false, true};
  else if constexpr (std::is_floating_point_v<T>)
    edges = {T(0),
             -T(0),
             T(1),
             T(-1),
             T(0.5),
             T(-0.5),
             T(1.5),
             T(2.5),
             T(-2.5),
             T(255.5),
             T(-128.75),
             T(4.0e9),
             T(1e19),
             T(-1e19),
             Limits::max(),
             Limits::lowest(),
             Limits::min(),
             Limits::denorm_min(),
             Limits::infinity(),
             -Limits::infinity(),
             Limits::quiet_NaN()};
  else
    edges = {T(0),
             T(1),
             T(2),
             T(3),
             T(7),
             T(31),
             T(32),
             T(33),
             T(63),
             T(64),
             T(65),
             Limits::max(),
             Limits::min(),
             static_cast<T>(-1),
             static_cast<T>(Limits::max() - 1)};
  std::vector<T> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t bits = random.next();
    if (i % 3 == 0) {
      out[i] = edges[random.below(edges.size())];
    } else if constexpr (std::is_same_v<T, bool>) {
      out[i] = bits % 2 == 1;
    } else if constexpr (std::is_floating_point_v<T>) {
      out[i] = static_cast<T>(static_cast<std::int64_t>(bits) >> (bits % 60)) / T(1024);
    } else {
      out[i] = static_cast<T>(i % 3 == 1 ? bits : bits % 200);
    }
  }
  return out;
}

}  // namespace lull::ptx::test
