// Instructions that compute lane by lane: by their name in operations.def, with .ftz and .sat as steps around them, and
// the few that are put together from several operations.

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {
namespace {

constexpr std::array<std::string_view, 17> kFlushing{"add", "sub", "mul", "mad", "fma", "div", "rcp", "sqrt", "rsqrt",
                                                     "sin", "cos", "ex2", "lg2", "min", "max", "abs", "neg"};
constexpr std::array<std::string_view, 5> kSaturating{"add", "sub", "mul", "mad", "fma"};

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& choices, std::string_view text) {
  return std::find(choices.begin(), choices.end(), text) != choices.end();
}

std::string name_of(Type type) { return std::string(facts(type).name); }

bool can_flush(Type type) { return type == Type::f32 || type == Type::f16 || type == Type::f16x2; }

// "cvt.rn.ftz.f32.f64" is rn and ftz of f32, f64.
struct Conversion {
  std::string rounding;  // with its dot, or empty
  bool flushes = false;
  bool saturates = false;
  Type to = Type::none;
  Type from = Type::none;
};

bool is_integer(Type type) { return facts(type).family == Family::integer; }
bool is_real(Type type) { return facts(type).family == Family::real; }

std::optional<Conversion> conversion_of(std::string_view mnemonic) {
  std::vector<std::string_view> parts;
  if (!mnemonic.starts_with("cvt.")) return std::nullopt;
  for (auto rest = mnemonic.substr(4);;) {
    const auto dot = rest.find('.');
    parts.push_back(rest.substr(0, dot));
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  if (parts.size() < 2) return std::nullopt;
  Conversion out;
  const auto from = type_named(parts.back()), to = type_named(parts[parts.size() - 2]);
  if (!from || !to) return std::nullopt;
  out.from = *from;
  out.to = *to;
  for (std::size_t i = 0; i + 2 < parts.size(); ++i) {
    if (parts[i] == "ftz" && !out.flushes)
      out.flushes = true;
    else if (parts[i] == "sat" && !out.saturates)
      out.saturates = true;
    else if (out.rounding.empty())
      out.rounding.append(".").append(parts[i]);
    else
      return std::nullopt;
  }
  return out;
}

std::string conversion_name(const std::string& rounding, Type to, Type from) {
  return std::string("cvt").append(rounding).append(".").append(facts(to).name).append(".").append(facts(from).name);
}

std::uint64_t largest_of(Type type) {
  return ~std::uint64_t{0} >> (64 - bytes_of(type) * 8 + (facts(type).is_signed ? 1 : 0));
}

}  // namespace

// add.ftz.sat.f32 is add.f32 between steps that flush its operands, flush and clamp its result.
std::optional<KernelParser::Arithmetic> KernelParser::arithmetic(const Token& mnemonic) {
  const auto base = mnemonic.text.substr(0, mnemonic.text.find('.'));
  Arithmetic out{.operation = operation_named(mnemonic.text)};
  if (out.operation != nullptr) return out;
  std::string name(mnemonic.text);
  const auto erase = [&](std::string_view part) {
    const auto at = name.find(part);
    if (at == std::string::npos) return false;
    name.erase(at, part.size());
    return true;
  };
  out.flushes = contains(kFlushing, base) && erase(".ftz");
  out.saturates = contains(kSaturating, base) && erase(".sat");
  out.operation = operation_named(name);
  if (out.operation == nullptr) return std::nullopt;
  const Type type = out.operation->destination;
  if ((out.flushes && !can_flush(type)) || (out.saturates && (!can_flush(type) || type == Type::f64)))
    return std::nullopt;
  return out;
}

std::uint32_t KernelParser::flushed(std::uint32_t row, Type type) {
  const std::uint32_t out = builder_.temporary(bytes_of(type));
  builder_.emit("flush " + name_of(type)).row = {out, row};
  return out;
}

bool KernelParser::lane_operation(const Token& mnemonic) {
  const auto form = arithmetic(mnemonic);
  if (!form || form->operation->destination == Type::none) return unknown(mnemonic);
  const Operation& operation = *form->operation;
  const auto target = destination(operation.destination, Width::exact);
  if (!target) return false;
  std::array<std::uint32_t, 5> rows{target->row};
  for (std::size_t i = 0; i < operation.source.size() && operation.source[i] != Type::none; ++i) {
    if (!comma()) return false;
    const auto row = source(operation.source[i]);
    if (!row) return false;
    rows[i + 1] = form->flushes ? flushed(*row, operation.source[i]) : *row;
  }
  builder_.emit(operation.number).row = rows;
  if (form->flushes) builder_.emit("flush " + name_of(operation.destination)).row = {target->row, target->row};
  if (form->saturates) builder_.emit("saturate " + name_of(operation.destination)).row = {target->row, target->row};
  return true;
}

// cvt. What has no row of its own goes by a wider type that holds every value: f16 by f32 or f64.
bool KernelParser::convert(const Token& mnemonic) {
  if (const auto* const direct = operation_named(mnemonic.text); direct != nullptr && direct->source[1] != Type::none)
    return lane_operation(mnemonic);
  const Operation* const brain = operation_named(mnemonic.text);
  const auto how = conversion_of(mnemonic.text);
  if (brain == nullptr && !how) return unknown(mnemonic);
  const Type to = how ? how->to : brain->destination, from = how ? how->from : brain->source[0];
  const auto target = destination(to, Width::or_wider);
  if (!target || !comma()) return false;
  auto value = narrowed_source(from);
  if (!value) return false;
  const std::uint32_t row = row_of_width(*target, to);
  if (!how) {
    builder_.emit(brain->number).row = {row, *value};
  } else {
    const bool touches_single = how->to == Type::f32 || how->from == Type::f32;
    if (how->flushes && !touches_single) return unknown(mnemonic);
    if (how->saturates && !is_integer(to) && !is_real(to)) return unknown(mnemonic);
    if (how->flushes && from == Type::f32) value = flushed(*value, from);
    if (how->saturates && is_integer(to) && is_integer(from)) {
      if (!how->rounding.empty()) return unknown(mnemonic);
      clamp(row, to, *value, from);
    } else if (!emit_conversion(how->rounding, row, to, *value, from)) {
      return unknown(mnemonic);
    }
    if (how->flushes && to == Type::f32) builder_.emit("flush f32").row = {row, row};
    if (how->saturates && is_real(to)) builder_.emit("saturate " + name_of(to)).row = {row, row};
  }
  widen(*target, to, row);
  return true;
}

bool KernelParser::emit_conversion(const std::string& rounding, std::uint32_t to_row, Type to, std::uint32_t from_row,
                                   Type from) {
  const auto emit = [&](const std::string& name, std::uint32_t d, std::uint32_t a) {
    const Operation* const operation = operation_named(name);
    if (operation != nullptr) builder_.emit(operation->number).row = {d, a};
    return operation != nullptr;
  };
  const bool is_same = to == from && is_real(to) && rounding.empty();
  if (is_same) return emit("mov." + name_of(to == Type::f16 ? Type::b16 : to), to_row, from_row);
  if (operation_named(conversion_name(rounding, to, from)) != nullptr)
    return emit(conversion_name(rounding, to, from), to_row, from_row);
  if (from == Type::f16 && (is_integer(to) || to == Type::f16)) {
    const Type by = Type::f32;
    const Type whole = to == Type::f16 ? by : to;
    if (operation_named(conversion_name(rounding, whole, by)) == nullptr) return false;
    const std::uint32_t wide = builder_.temporary(bytes_of(by));
    if (!emit(conversion_name("", by, from), wide, from_row)) return false;
    if (is_integer(to)) return emit(conversion_name(rounding, to, by), to_row, wide);
    return emit(conversion_name(rounding, by, by), wide, wide) && emit(conversion_name(".rn", to, by), to_row, wide);
  }
  if (to == Type::f16 && is_integer(from) && (rounding == ".rn" || rounding == ".rz")) {
    const std::uint32_t wide = builder_.temporary(bytes_of(Type::f64));
    // Integers that f64 has to round are beyond the largest f16 anyway.
    return emit(conversion_name(".rn", Type::f64, from), wide, from_row) &&
           emit(conversion_name(rounding, to, Type::f64), to_row, wide);
  }
  return false;
}

// cvt.sat between integers: the bounds of `to` that `from` can pass are applied in `from`.
void KernelParser::clamp(std::uint32_t to_row, Type to, std::uint32_t from_row, Type from) {
  if (bytes_of(from) == 1) {  // there is no arithmetic on bytes
    const Type wide = facts(from).is_signed ? Type::s16 : Type::u16;
    const std::uint32_t row = builder_.temporary(2);
    builder_.emit(conversion_name("", wide, from)).row = {row, from_row};
    return clamp(to_row, to, row, wide);
  }
  const unsigned bytes = bytes_of(from);
  const auto bound = [&](const char* name, std::uint64_t value) {
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bytes * 8);
    const std::uint32_t row = builder_.temporary(bytes);
    builder_.emit(name + name_of(from)).row = {row, from_row, builder_.constant(bytes, value & mask)};
    from_row = row;
  };
  if (facts(from).is_signed && !facts(to).is_signed) bound("max.", 0);
  if (facts(from).is_signed && facts(to).is_signed && bytes_of(to) < bytes) bound("max.", ~largest_of(to));
  if (largest_of(to) < largest_of(from)) bound("min.", largest_of(to));
  builder_.emit(conversion_name("", to, from)).row = {to_row, from_row};
}

// add.cc, addc and their like read and write the carry flag of the thread.
bool KernelParser::carry(const Token& mnemonic) {
  const std::uint32_t at = builder_.position();
  if (!lane_operation(mnemonic)) return false;
  builder_.at(at).row[4] = builder_.carry_flag();
  return true;
}

// lop3.b32 d, a, b, c, 0xE8
bool KernelParser::logic3(const Token& mnemonic) {
  constexpr std::uint64_t kTables = 255;
  const std::uint32_t at = builder_.position();
  if (!lane_operation(mnemonic) || !comma()) return false;
  const auto table = reader_.integer("the table of lop3", kTables);
  if (!table) return false;
  builder_.at(at).immediate = static_cast<std::int64_t>(*table);
  return true;
}

// set.lt.u32.f32 d, a, b: all ones or zero, 1.0 or 0.0
bool KernelParser::set(const Token& mnemonic) {
  const std::string text(mnemonic.text);
  const auto source_at = text.rfind('.'), type_at = source_at == 0 ? std::string::npos : text.rfind('.', source_at - 1);
  if (source_at == std::string::npos || type_at == std::string::npos) return unknown(mnemonic);
  const auto type = type_named(text.substr(type_at + 1, source_at - type_at - 1));
  if (!type || (*type != Type::u32 && *type != Type::s32 && *type != Type::f32)) return unknown(mnemonic);
  const auto how = comparison("setp" + text.substr(3, type_at - 3) + text.substr(source_at));
  if (!how) return unknown(mnemonic);
  const auto target = destination(*type, Width::exact);
  if (!target || !comma()) return false;
  const std::uint32_t result = builder_.temporary(1), negation = builder_.temporary(1);
  if (!compare_operands(*how, result, negation)) return false;
  constexpr std::uint64_t kOne = 0x3F800000, kOnes = 0xFFFFFFFF;
  const std::uint32_t yes = builder_.constant(4, *type == Type::f32 ? kOne : kOnes), no = builder_.constant(4, 0);
  builder_.emit("selp.b32").row = {target->row, yes, no, result};
  return true;
}

// slct.u32.s32 d, a, b, c: a if c is not negative
bool KernelParser::select_by_sign(const Token& mnemonic) {
  const auto by_at = mnemonic.text.rfind('.');
  std::string name(mnemonic.text.substr(0, by_at));
  const bool flushes = name.starts_with("slct.ftz.");
  if (flushes) name.erase(4, 4);
  const Type by = type_named(mnemonic.text.substr(by_at + 1)).value_or(Type::none);
  const Operation* const select = name.size() > 4 ? operation_named("selp" + name.substr(4)) : nullptr;
  if (select == nullptr || (by != Type::s32 && by != Type::f32) || (flushes && by != Type::f32))
    return unknown(mnemonic);
  const auto target = destination(select->destination, Width::exact);
  if (!target || !comma()) return false;
  const auto a = source(select->destination);
  if (!a || !comma()) return false;
  const auto b = source(select->destination);
  if (!b || !comma()) return false;
  const auto c = source(by);
  if (!c) return false;
  const std::uint32_t positive = builder_.temporary(1);
  builder_.emit("setp.ge." + name_of(by)).row = {positive, flushes ? flushed(*c, by) : *c, builder_.constant(4, 0)};
  builder_.emit(select->number).row = {target->row, *a, *b, positive};
  return true;
}

}  // namespace lull::ptx
