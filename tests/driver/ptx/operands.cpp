#include <array>
#include <utility>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {
namespace {

constexpr std::array<std::pair<std::string_view, Special>, 23> kSpecials{{
    {"%tid.x", Special::tid_x},
    {"%tid.y", Special::tid_y},
    {"%tid.z", Special::tid_z},
    {"%ntid.x", Special::ntid_x},
    {"%ntid.y", Special::ntid_y},
    {"%ntid.z", Special::ntid_z},
    {"%ctaid.x", Special::ctaid_x},
    {"%ctaid.y", Special::ctaid_y},
    {"%ctaid.z", Special::ctaid_z},
    {"%nctaid.x", Special::nctaid_x},
    {"%nctaid.y", Special::nctaid_y},
    {"%nctaid.z", Special::nctaid_z},
    {"%laneid", Special::laneid},
    {"%warpid", Special::warpid},
    {"%nwarpid", Special::nwarpid},
    {"%smid", Special::smid},
    {"%nsmid", Special::nsmid},
    {"%lanemask_eq", Special::lanemask_eq},
    {"%lanemask_le", Special::lanemask_le},
    {"%lanemask_lt", Special::lanemask_lt},
    {"%lanemask_ge", Special::lanemask_ge},
    {"%lanemask_gt", Special::lanemask_gt},
    {"%gridid", Special::smid},
}};

constexpr std::uint64_t kWarpSize = 32;

std::string dotted(Type type) { return std::string(".").append(facts(type).name); }

std::string_view name_of(Space space) {
  switch (space) {
    case Space::generic: return "generic";
    case Space::global: return "global";
    case Space::constant: return "const";
    case Space::shared: return "shared";
    case Space::local: return "local";
    default: return "param";
  }
}

}  // namespace

bool KernelParser::check(const Token& at, Type have, Type want, Width width) {
  const unsigned has = bytes_of(have), wants = bytes_of(want);
  const bool may_be_wider = width == Width::or_wider && facts(want).family != Family::real;
  const bool widths_agree = has == wants || (may_be_wider && has > wants);
  // A wider register of a real type has no meaning as a word of bits.
  const bool agree = widths_agree && families_agree(have, want) && (has == wants || facts(have).family != Family::real);
  if (agree) return true;
  return reader_.fail(at, quoted(at) + " is " + dotted(have) + ", the instruction takes " + dotted(want) + " here");
}

std::optional<KernelParser::Source> KernelParser::operand(Type type, Width width) {
  const Token token = reader_.peek();
  if (token.kind != TokenKind::word) {
    const auto value = reader_.literal(type);
    if (!value) return std::nullopt;
    return Source{builder_.constant(bytes_of(type), *value), type};
  }
  reader_.next();
  if (token.is("WARP_SZ") && facts(type).family != Family::real)
    return Source{builder_.constant(bytes_of(type), kWarpSize), type};
  auto found = special(token);
  if (!found)
    if (const auto reg = scopes_.find_register(token.text)) found = Source{reg->row, reg->type};
  if (found) return check(token, found->type, type, width) ? found : std::nullopt;
  if (const Symbol* const symbol = find_symbol(token))
    reader_.fail(token, quoted(token) + " is a variable in ." + std::string(name_of(symbol->space)) +
                            " memory, not a register: take its address with mov");
  else
    reader_.fail(token, "register " + quoted(token) + " is not declared");
  return std::nullopt;
}

std::optional<std::uint32_t> KernelParser::source(Type type) {
  const auto found = operand(type, Width::exact);
  if (!found) return std::nullopt;
  return found->row;
}

// A register of cvt or st may be wider than the type: its low part counts.
std::optional<std::uint32_t> KernelParser::narrowed_source(Type type) {
  const auto found = operand(type, Width::or_wider);
  if (!found) return std::nullopt;
  return narrow(*found, type);
}

std::uint32_t KernelParser::narrow(const Source& from, Type type) {
  if (bytes_of(from.type) == bytes_of(type)) return from.row;
  const std::uint32_t row = builder_.temporary(bytes_of(type));
  const std::string to(facts(unsigned_word(bytes_of(type))).name), wide(facts(unsigned_word(bytes_of(from.type))).name);
  builder_.emit("cvt." + to + "." + wide).row = {row, from.row};
  return row;
}

std::optional<KernelParser::Source> KernelParser::destination(Type type, Width width) {
  const Token token = reader_.peek();
  if (token.kind != TokenKind::word) {
    reader_.fail(token, "expected a register, found " + quoted(token));
    return std::nullopt;
  }
  reader_.next();
  if (token.is("_")) return Source{builder_.temporary(bytes_of(type)), type};
  const auto reg = scopes_.find_register(token.text);
  if (!reg) {
    reader_.fail(token, "register " + quoted(token) + " is not declared");
    return std::nullopt;
  }
  if (!check(token, reg->type, type, width)) return std::nullopt;
  return Source{reg->row, reg->type};
}

// Where an operation of `type` writes if its result goes to `target`: a temporary if that is wider; widen() follows.
std::uint32_t KernelParser::row_of_width(const Source& target, Type type) {
  return bytes_of(target.type) == bytes_of(type) ? target.row : builder_.temporary(bytes_of(type));
}

void KernelParser::widen(const Source& target, Type type, std::uint32_t row) {
  if (row == target.row) return;
  const std::string to(facts(unsigned_word(bytes_of(target.type))).name), from(facts(integer_word(type)).name);
  builder_.emit("cvt." + to + "." + from).row = {target.row, row};
}

std::optional<KernelParser::Source> KernelParser::special(const Token& name) {
  for (const auto& [text, special] : kSpecials)
    if (name.text == text) return Source{builder_.special(special), Type::u32};
  const bool is_long = name.is("%globaltimer") || name.is("%clock64");
  if (!is_long && !name.is("%clock") && !name.is("%globaltimer_lo")) return std::nullopt;
  const std::uint32_t row = builder_.temporary(is_long ? 8 : 4);
  builder_.emit(is_long ? "clock u64" : "clock u32").row = {row};
  return Source{row, is_long ? Type::u64 : Type::u32};
}

// Shared and local addresses are offsets in their space; all others are addresses of the host.
std::optional<std::uint32_t> KernelParser::symbol_address(const Token& name, const Symbol& symbol, std::uint64_t offset,
                                                          unsigned bytes) {
  if (symbol.space == Space::parameter && !symbol.in_frame) {
    reader_.fail(name, "the address of parameter " + quoted(name) + " cannot be taken: read it with ld.param");
    return std::nullopt;
  }
  const bool is_local = symbol.space == Space::local || symbol.in_frame;
  if (bytes < 4 || (bytes < 8 && symbol.space != Space::shared && !is_local)) {
    reader_.fail(name, "the address of " + quoted(name) + " needs a 64-bit register");
    return std::nullopt;
  }
  if (is_local) return frame_address(symbol.offset + offset, bytes);
  return builder_.constant(bytes, symbol.offset + offset, symbol.variable, symbol.shared);
}

// The frame of a kernel starts where local memory does, the frame of a function at its stack pointer.
std::uint32_t KernelParser::frame_address(std::uint64_t offset, unsigned bytes) {
  if (!is_function_) return builder_.constant(bytes, offset);
  const std::uint32_t row = builder_.temporary(8);
  builder_.emit("add.u64").row = {row, 0, builder_.constant(8, offset)};
  if (bytes == 8) return row;
  const std::uint32_t low = builder_.temporary(4);
  builder_.emit("cvt.u32.u64").row = {low, row};
  return low;
}

std::optional<KernelParser::Address> KernelParser::address(Space space) {
  Address out;
  if (!reader_.expect('[', "before an address") || !base(space, out) || !offset(out)) return std::nullopt;
  if (!reader_.expect(']', "after the address")) return std::nullopt;
  return out;
}

bool KernelParser::base(Space space, Address& out) {
  const Token token = reader_.peek();
  if (token.kind == TokenKind::integer) {
    out.row = builder_.constant(8, reader_.next().value);
    return space != Space::parameter || reader_.fail(token, "ld.param takes the name of a parameter");
  }
  const auto name = reader_.name("a register or variable");
  if (!name) return false;
  if (const auto reg = scopes_.find_register(name->text)) {
    if (space == Space::parameter)
      return reader_.fail(token, "ld.param takes the name of a parameter; addresses in registers are not supported");
    const bool is_short = (space == Space::shared || space == Space::local) && bytes_of(reg->type) == 4;
    if (!check(token, reg->type, is_short ? Type::b32 : Type::b64, Width::exact)) return false;
    if (facts(reg->type).family == Family::real)
      return reader_.fail(token, quoted(token) + " is a real number, not an address");
    out.row = is_short ? builder_.temporary(8) : reg->row;
    if (is_short) builder_.emit("cvt.u64.u32").row = {out.row, reg->row};
    return true;
  }
  const Symbol* const symbol = find_symbol(token);
  if (symbol == nullptr) return reader_.fail(token, quoted(token) + " is neither a register nor a variable");
  const bool is_device = symbol->space == Space::global || symbol->space == Space::constant;
  if (symbol->space != space && !(space == Space::generic && is_device))
    return reader_.fail(token, quoted(token) + " is in ." + std::string(name_of(symbol->space)) +
                                   " memory, the access is to ." + std::string(name_of(space)));
  if (space == Space::parameter) {
    out.parameter = *symbol;
    if (symbol->in_frame) out.row = frame_address(symbol->offset, 8);
    return true;
  }
  const auto row = symbol_address(token, *symbol, 0, 8);
  if (row) out.row = *row;
  return row.has_value();
}

// [name+4], [name-4], [name+-4]
bool KernelParser::offset(Address& out) {
  bool negative = false;
  if (reader_.accept('+'))
    negative = reader_.accept('-');
  else if (reader_.accept('-'))
    negative = true;
  else
    return true;
  const auto distance = reader_.integer("an address offset", INT32_MAX);
  if (!distance) return false;
  out.offset = negative ? -static_cast<std::int64_t>(*distance) : static_cast<std::int64_t>(*distance);
  return true;
}

}  // namespace lull::ptx
