#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lull::ptx {

// The fundamental types of PTX that the simulator knows, in the order of kTypes.
enum class Type : std::uint8_t {
  none,
  pred,
  b8,
  b16,
  b32,
  b64,
  u8,
  u16,
  u32,
  u64,
  s8,
  s16,
  s32,
  s64,
  f32,
  f64,
  f16,
  f16x2
};

enum class Family : std::uint8_t { none, predicate, bits, integer, real, pair };  // pair: two reals in a word

struct TypeFacts {
  std::string_view name;  // without the dot
  Type type;
  std::uint8_t bytes;  // of a register or memory word; a predicate is a byte of 0 or 1
  Family family;
  bool is_signed;
};

inline constexpr std::array<TypeFacts, 18> kTypes{{
    {"none", Type::none, 0, Family::none, false},
    {"pred", Type::pred, 1, Family::predicate, false},
    {"b8", Type::b8, 1, Family::bits, false},
    {"b16", Type::b16, 2, Family::bits, false},
    {"b32", Type::b32, 4, Family::bits, false},
    {"b64", Type::b64, 8, Family::bits, false},
    {"u8", Type::u8, 1, Family::integer, false},
    {"u16", Type::u16, 2, Family::integer, false},
    {"u32", Type::u32, 4, Family::integer, false},
    {"u64", Type::u64, 8, Family::integer, false},
    {"s8", Type::s8, 1, Family::integer, true},
    {"s16", Type::s16, 2, Family::integer, true},
    {"s32", Type::s32, 4, Family::integer, true},
    {"s64", Type::s64, 8, Family::integer, true},
    {"f32", Type::f32, 4, Family::real, true},
    {"f64", Type::f64, 8, Family::real, true},
    {"f16", Type::f16, 2, Family::real, true},
    {"f16x2", Type::f16x2, 4, Family::pair, true},
}};

constexpr const TypeFacts& facts(Type type) { return kTypes[static_cast<std::size_t>(type)]; }
constexpr unsigned bytes_of(Type type) { return facts(type).bytes; }

// `name` without the dot: "u32".
constexpr std::optional<Type> type_named(std::string_view name) {
  for (const auto& candidate : kTypes)
    if (candidate.type != Type::none && candidate.name == name) return candidate.type;
  return std::nullopt;
}

// The word of the same width without sign: what loads, stores and truncations work with.
constexpr Type unsigned_word(unsigned bytes) {
  switch (bytes) {
    case 1: return Type::u8;
    case 2: return Type::u16;
    case 4: return Type::u32;
    default: return Type::u64;
  }
}

// An integer type that keeps the sign of `type` when widened.
constexpr Type integer_word(Type type) {
  if (!facts(type).is_signed || facts(type).family == Family::real) return unsigned_word(bytes_of(type));
  return type;
}

// Integers of either sign go together, untyped bits go with anything, reals only with reals.
constexpr bool families_agree(Type a, Type b) {
  const Family x = facts(a).family, y = facts(b).family;
  if (x == Family::predicate || y == Family::predicate) return x == y;
  return x == y || x == Family::bits || y == Family::bits;
}

}  // namespace lull::ptx
