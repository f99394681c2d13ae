#pragma once

// One instruction against plain C++: executed by all threads on edge values and on any bits, with all lanes and with
// every other lane active.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <tuple>
#include <vector>

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {

inline constexpr unsigned kThreads = 384;  // three gangs
inline constexpr std::byte kUntouched{0xAB};

// The values of one operand or of the result, one for each thread, as memory holds them; a predicate is a byte.
struct Column {
  std::string type;  // of the register: b32, pred
  std::size_t bytes = 0;
  bool is_real = false;
  std::vector<std::byte> data;
};

template <class T>
Column column_of(const std::vector<T>& values) {
  Column out{std::is_same_v<T, bool> ? "pred" : "b" + std::to_string(sizeof(T) * 8),
             sizeof(T),
             std::is_floating_point_v<T>,
             {}};
  out.data.resize(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T value = values[i];
    std::memcpy(out.data.data() + i * sizeof value, &value, sizeof value);
  }
  return out;
}

template <class T>
T value_of(const Column& column, std::size_t thread) {
  T value;
  std::memcpy(&value, column.data.data() + thread * sizeof value, sizeof value);
  return value;
}

inline std::string declare(const std::string& name, const Column& column) {
  return "  .reg .b64 %" + name + "_base; .reg ." + column.type + " %" + name + ";\n";
}

inline std::string address_of(const std::string& name, const Column& column) {
  return "  ld.param.u64 %" + name + "_base, [" + name + "];\n  mad.lo.u64 %address, %thread, " +
         std::to_string(column.bytes) + ", %" + name + "_base;\n";
}

inline std::string load_operand(const std::string& name, const Column& column) {
  const std::string text = address_of(name, column);
  if (column.type != "pred") return text + "  ld.global." + column.type + " %" + name + ", [%address];\n";
  return text + "  ld.global.u8 %byte, [%address];\n  setp.ne.u16 %" + name + ", %byte, 0;\n";
}

// d = instruction(sources), executed by all threads or by the odd ones.
inline std::string kernel_for(const std::string& mnemonic, const Column& result, const std::vector<Column>& sources,
                              bool odd_only) {
  const auto name = [](std::size_t i) { return std::string(1, static_cast<char>('a' + i)); };
  std::string text = ".visible .entry k(.param .u64 r";
  for (std::size_t i = 0; i < sources.size(); ++i) text += ", .param .u64 " + name(i);
  text += ")\n{\n  .reg .b64 %thread, %address; .reg .b32 %id, %odd, %word; .reg .b16 %byte; .reg .pred %go;\n" +
          declare("r", result);
  for (std::size_t i = 0; i < sources.size(); ++i) text += declare(name(i), sources[i]);
  text += "  mov.u32 %id, %tid.x;\n  cvt.u64.u32 %thread, %id;\n  and.b32 %odd, %id, 1;\n  setp.ne.u32 %go, %odd, 0;\n";
  for (std::size_t i = 0; i < sources.size(); ++i) text += load_operand(name(i), sources[i]);
  const std::string guard = odd_only ? "  @%go " : "  ";
  text += guard + mnemonic + " %r";
  for (std::size_t i = 0; i < sources.size(); ++i) text += ", %" + name(i);
  text += ";\n" + address_of("r", result);
  if (result.type == "pred")
    return text + "  selp.u32 %word, 1, 0, %r;\n" + guard + "st.global.u8 [%address], %word;\n  ret;\n}\n";
  return text + guard + "st.global." + result.type + " [%address], %r;\n  ret;\n}\n";
}

// Bit for bit, except that one NaN is as good as another: PTX leaves their bits open.
inline bool is_same(const Column& have, const Column& want, std::size_t thread) {
  if (want.is_real && want.bytes == 4 && std::isnan(value_of<float>(want, thread)))
    return std::isnan(value_of<float>(have, thread));
  if (want.is_real && want.bytes == 8 && std::isnan(value_of<double>(want, thread)))
    return std::isnan(value_of<double>(have, thread));
  return std::memcmp(have.data.data() + thread * want.bytes, want.data.data() + thread * want.bytes, want.bytes) == 0;
}

inline std::string hex(const Column& column, std::size_t thread) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, column.data.data() + thread * column.bytes, column.bytes);
  char text[24];
  (void)std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(bits));
  return text;
}

inline void verify(const std::string& mnemonic, const Column& expected, const std::vector<Column>& sources,
                   bool odd_only) {
  Column result = expected;
  std::fill(result.data.begin(), result.data.end(), kUntouched);
  const Column untouched = result;
  std::vector<const std::byte*> arguments{result.data.data()};
  for (const Column& source : sources) arguments.push_back(source.data.data());
  const Module module = module_of(kernel_for(mnemonic, result, sources, odd_only));
  const Launch launch{.block = {kThreads, 1, 1}, .parameters = reinterpret_cast<const std::byte*>(arguments.data())};
  REQUIRE(run(module, module.kernels[0], launch) == Outcome::ok);
  for (std::size_t i = 0; i < kThreads; ++i) {
    const bool is_active = !odd_only || i % 2 == 1;
    if (is_same(result, is_active ? expected : untouched, i)) continue;
    std::string operands;
    for (const Column& source : sources) operands += " " + hex(source, i);
    FAIL(mnemonic, " of", operands, " gives ", hex(result, i), ", not ", hex(expected, i), ", in thread ", i,
         odd_only ? " of the odd ones" : "");
  }
}

template <class D, class... S, class Oracle>
void agrees(const std::string& mnemonic, Oracle oracle) {
  std::uint64_t seed = 0;
  const auto next_seed = [&] { return ++seed; };
  const std::vector<Column> sources{column_of(inputs<S>(kThreads, next_seed()))...};
  std::vector<D> results;
  for (std::size_t i = 0; i < kThreads; ++i) {
    std::size_t next = 0;
    const auto next_column = [&]() -> const Column& { return sources[next++]; };
    const std::tuple<S...> values{value_of<S>(next_column(), i)...};  // in the order of the braces
    results.push_back(static_cast<D>(std::apply(oracle, values)));
  }
  for (const bool odd_only : {false, true}) verify(mnemonic, column_of(results), sources, odd_only);
}

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using s8 = std::int8_t;
using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;

}  // namespace lull::ptx::test
