#include <algorithm>
#include <array>
#include <string>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {
namespace {

struct SpaceName {
  std::string_view name;
  Space space;
};
constexpr std::array<SpaceName, 8> kSpaces{{{"global", Space::global},
                                            {"const", Space::constant},
                                            {"shared", Space::shared},
                                            {"shared::cta", Space::shared},
                                            {"local", Space::local},
                                            {"param", Space::parameter},
                                            {"param::entry", Space::parameter},
                                            {"param::func", Space::parameter}}};

// Orders other than weak are all as strong as the strongest here.
constexpr std::array<std::string_view, 5> kOrders{"volatile", "relaxed", "acquire", "release", "acq_rel"};
// Scopes, cache operators and hints change nothing in one memory without caches.
constexpr std::array<std::string_view, 14> kIgnored{"weak", "cta", "cluster", "gpu", "sys", "ca", "cg",
                                                    "cs",   "lu",  "cv",      "nc",  "wb",  "wt", "uni"};
constexpr std::array<std::string_view, 9> kAtomics{"add", "min", "max", "inc", "dec", "and", "or", "xor", "exch"};

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& choices, std::string_view text) {
  return std::find(choices.begin(), choices.end(), text) != choices.end();
}

std::string_view name_in_row(Space space) {
  if (space == Space::shared) return "shared";
  return space == Space::local ? "local" : "generic";
}

}  // namespace

std::optional<KernelParser::Access> KernelParser::access(const Token& mnemonic) {
  Access out;
  std::string_view rest = mnemonic.text;
  for (auto dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    rest.remove_prefix(dot + 1);
    const auto modifier = rest.substr(0, rest.find('.'));
    const auto space = std::find_if(kSpaces.begin(), kSpaces.end(), [&](const auto& s) { return s.name == modifier; });
    if (space != kSpaces.end())
      out.space = space->space;
    else if (contains(kOrders, modifier))
      out.is_volatile = true;
    else if (modifier == "v2")
      out.words = 2;
    else if (modifier == "v4")
      out.words = 4;
    else if (contains(kAtomics, modifier) || modifier == "cas")
      out.operation = modifier;
    else if (const auto type = type_named(modifier); type && out.type == Type::none)
      out.type = *type;
    else if (!contains(kIgnored, modifier))
      return unknown(mnemonic), std::nullopt;
  }
  if (out.type == Type::none || out.type == Type::pred) return unknown(mnemonic), std::nullopt;
  return out;
}

// "ld shared v2 b32"
std::string KernelParser::row_name(std::string_view base, const Access& access) const {
  const std::string words = access.words == 1 ? "" : access.words == 2 ? " v2" : " v4";
  return std::string(base) + (access.is_volatile ? ".volatile " : " ") + std::string(name_in_row(access.space)) +
         words + " b" + std::to_string(bytes_of(access.type) * 8);
}

// One operand, or as many as the vector has words: {a, b}
template <class Read>
bool KernelParser::words(unsigned count, Read read) {
  if (count == 1) return read(0U);
  if (!reader_.expect('{', "before the words of a vector")) return false;
  for (unsigned word = 0; word < count; ++word)
    if ((word != 0 && !comma()) || !read(word)) return false;
  return reader_.expect('}', "after the words of a vector");
}

bool KernelParser::load(const Token& mnemonic) {
  const auto how = access(mnemonic);
  if (!how) return false;
  if (!how->operation.empty()) return unknown(mnemonic);
  std::array<Source, 4> targets;
  const bool have_targets = words(how->words, [&](unsigned word) {
    const auto target = destination(how->type, Width::or_wider);
    if (target) targets[word] = *target;
    return target.has_value();
  });
  if (!have_targets || !comma()) return false;
  const Token at = reader_.peek(1);
  const auto from = address(how->space);
  if (!from) return false;
  std::array<std::uint32_t, 5> rows{};
  for (unsigned word = 0; word < how->words; ++word) rows[word] = row_of_width(targets[word], how->type);
  if (from->parameter && from->parameter->in_frame) {
    if (!in_bounds(at, *how, *from)) return false;
    rows[4] = from->row;
    Access local = *how;
    local.space = Space::local;
    Instruction& in = builder_.emit(row_name("ld", local));
    in.row = rows;
    in.immediate = from->offset;
  } else if (from->parameter) {
    if (!load_parameter(at, *how, *from, rows)) return false;
  } else {
    rows[4] = from->row;
    Instruction& in = builder_.emit(row_name("ld", *how));
    in.row = rows;
    in.immediate = from->offset;
  }
  for (unsigned word = 0; word < how->words; ++word) widen(targets[word], how->type, rows[word]);
  return true;
}

bool KernelParser::in_bounds(const Token& at, const Access& how, const Address& place) {
  const std::int64_t bytes = std::int64_t{bytes_of(how.type)} * how.words;
  const auto size = static_cast<std::int64_t>(place.parameter->size);
  if (place.offset < 0 || place.offset + bytes > size)
    return reader_.fail(
        at, "the access is outside of parameter " + quoted(at) + ", which has " + std::to_string(size) + " bytes");
  return (static_cast<std::int64_t>(place.parameter->offset) + place.offset) % bytes == 0 ||
         reader_.fail(at, "the access to parameter " + quoted(at) + " is misaligned");
}

// A parameter has the same value for every thread and a place known now.
bool KernelParser::load_parameter(const Token& at, const Access& how, const Address& from,
                                  const std::array<std::uint32_t, 5>& rows) {
  if (!in_bounds(at, how, from)) return false;
  const std::int64_t bytes = bytes_of(how.type);
  const std::int64_t place = static_cast<std::int64_t>(from.parameter->offset) + from.offset;
  for (unsigned word = 0; word < how.words; ++word) {
    Instruction& in = builder_.emit("parameter b" + std::to_string(bytes * 8));
    in.row = {rows[word]};
    in.immediate = place + bytes * word;
  }
  return true;
}

bool KernelParser::store(const Token& mnemonic) {
  const auto how = access(mnemonic);
  if (!how) return false;
  if (!how->operation.empty() || how->space == Space::constant) return unknown(mnemonic);
  const Token at = reader_.peek(1);
  const auto to = address(how->space);
  if (!to || !comma()) return false;
  if (to->parameter && !to->parameter->in_frame)
    return reader_.fail(at, "a kernel cannot write its parameter " + quoted(at));
  if (to->parameter && !in_bounds(at, *how, *to)) return false;
  std::array<std::uint32_t, 5> rows{};
  const bool have_sources = words(how->words, [&](unsigned word) {
    const auto row = narrowed_source(how->type);
    if (row) rows[word] = *row;
    return row.has_value();
  });
  if (!have_sources) return false;
  rows[4] = to->row;
  Access where = *how;
  if (to->parameter) where.space = Space::local;
  Instruction& in = builder_.emit(row_name("st", where));
  in.row = rows;
  in.immediate = to->offset;
  return true;
}

// atom.global.add.u32 d, [a], b;  atom.cas.b32 d, [a], compare, swap;  red has no destination.
bool KernelParser::atomic(const Token& mnemonic) {
  const auto how = access(mnemonic);
  if (!how) return false;
  const std::string name = "atom " + std::string(name_in_row(how->space)) + " " + std::string(how->operation) + " " +
                           std::string(facts(how->type).name);
  const Operation* const operation = operation_named(name);
  const bool is_reduction = mnemonic.text.starts_with("red"), has_swap = how->operation == "cas";
  const bool has_space = how->space == Space::generic || how->space == Space::global || how->space == Space::shared;
  if (operation == nullptr || !has_space || how->words != 1 || (is_reduction && (has_swap || how->operation == "exch")))
    return unknown(mnemonic);
  std::array<std::uint32_t, 5> rows{};
  if (is_reduction) {
    rows[0] = builder_.temporary(bytes_of(how->type));
  } else {
    const auto target = destination(how->type, Width::exact);
    if (!target || !comma()) return false;
    rows[0] = target->row;
  }
  const auto place = address(how->space);
  if (!place || !comma()) return false;
  const auto value = source(how->type);
  if (!value || (has_swap && !comma())) return false;
  const auto swap = has_swap ? source(how->type) : value;
  if (!swap) return false;
  rows[2] = *value;
  rows[3] = *swap;
  rows[4] = place->row;
  Instruction& in = builder_.emit(operation->number);
  in.row = rows;
  in.immediate = place->offset;
  return true;
}

// cvta.shared.u64 generic, offset;  cvta.to.shared.u64 offset, generic. In global and constant memory both are the
// same.
bool KernelParser::to_generic(const Token& mnemonic) {
  const bool is_back = mnemonic.text.starts_with("cvta.to.");
  const auto how =
      access(is_back ? Token{TokenKind::word, mnemonic.text.substr(7), 0, mnemonic.line, mnemonic.column} : mnemonic);
  if (!how) return false;
  if (how->type != Type::u64 || how->space == Space::generic || how->space == Space::parameter)
    return unknown(mnemonic);
  const auto target = destination(Type::u64, Width::exact);
  if (!target || !comma()) return false;
  const Token operand = reader_.peek();
  std::optional<std::uint32_t> from;
  const Symbol* const symbol =
      operand.kind == TokenKind::word && !scopes_.find_register(operand.text) ? find_symbol(operand) : nullptr;
  if (symbol != nullptr && symbol->space == how->space && !is_back) {
    reader_.next();
    Address distance;
    if (!offset(distance)) return false;
    from = symbol_address(operand, *symbol, static_cast<std::uint64_t>(distance.offset), 8);
  } else {
    from = source(Type::u64);
  }
  if (!from) return false;
  const bool is_same = how->space == Space::global || how->space == Space::constant;
  const std::string space(name_in_row(how->space));
  builder_.emit(is_same   ? "mov.u64"
                : is_back ? space + " of generic"
                          : "generic of " + space)
      .row = {target->row, *from};
  return true;
}

}  // namespace lull::ptx
