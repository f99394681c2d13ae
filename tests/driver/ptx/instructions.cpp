#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {
namespace {

constexpr unsigned kBarrierLimit = 15;  // highest number
constexpr unsigned kThreadLimit = 1024;

std::string_view base_of(std::string_view mnemonic) { return mnemonic.substr(0, mnemonic.find('.')); }
std::string_view last_of(std::string_view mnemonic) { return mnemonic.substr(mnemonic.rfind('.') + 1); }

bool is_one_of(std::string_view text, std::span<const std::string_view> choices) {
  return std::find(choices.begin(), choices.end(), text) != choices.end();
}

}  // namespace

struct KernelParser::Form {
  std::string_view base;
  bool (KernelParser::*assemble)(const Token& mnemonic);
};

// Everything else is a lane operation by its full name.
const KernelParser::Form KernelParser::kForms[] = {
    {"call", &KernelParser::call},
    {"activemask", &KernelParser::active_mask},
    {"match", &KernelParser::match},
    {"redux", &KernelParser::match},
    {"shfl", &KernelParser::shuffle},
    {"vote", &KernelParser::vote},
    {"addc", &KernelParser::carry},
    {"lop3", &KernelParser::logic3},
    {"madc", &KernelParser::carry},
    {"set", &KernelParser::set},
    {"slct", &KernelParser::select_by_sign},
    {"subc", &KernelParser::carry},
    {"atom", &KernelParser::atomic},
    {"bar", &KernelParser::barrier},
    {"barrier", &KernelParser::barrier},
    {"bra", &KernelParser::branch},
    {"cvt", &KernelParser::convert},
    {"cvta", &KernelParser::to_generic},
    {"exit", &KernelParser::end},
    {"fence", &KernelParser::fence},
    {"ld", &KernelParser::load},
    {"membar", &KernelParser::fence},
    {"mov", &KernelParser::move},
    {"nanosleep", &KernelParser::nanosleep},
    {"red", &KernelParser::atomic},
    {"ret", &KernelParser::end},
    {"setp", &KernelParser::compare},
    {"st", &KernelParser::store},
    {"trap", &KernelParser::trap},
};

bool KernelParser::guard(Guard& out) {
  if (!reader_.accept('@')) return true;
  out.present = true;
  out.negated = reader_.accept('!');
  const auto predicate = destination(Type::pred, Width::exact);
  if (predicate) out.row = predicate->row;
  return predicate.has_value();
}

bool KernelParser::instruction() {
  builder_.begin_instruction({});
  Guard guarded_by;
  if (!guard(guarded_by)) return false;
  const Token mnemonic = reader_.peek();
  if (mnemonic.kind != TokenKind::word || mnemonic.text.starts_with('.'))
    return reader_.fail(mnemonic, "expected an instruction, found " + quoted(mnemonic));
  reader_.next();
  builder_.begin_instruction(guarded_by);
  return assemble(mnemonic) && reader_.expect(';', "after the instruction");
}

bool KernelParser::assemble(const Token& mnemonic) {
  const auto base = base_of(mnemonic.text);
  for (const Form& form : kForms)
    if (form.base == base) return (this->*form.assemble)(mnemonic);
  const bool sets_carry = mnemonic.text.find(".cc.") != std::string_view::npos;
  return sets_carry ? carry(mnemonic) : lane_operation(mnemonic);
}

bool KernelParser::unknown(const Token& mnemonic) {
  const auto base = base_of(mnemonic.text);
  const bool is_known = is_known_instruction(base) || std::any_of(std::begin(kForms), std::end(kForms),
                                                                  [&](const Form& form) { return form.base == base; });
  if (!is_known) return reader_.fail(mnemonic, "unknown instruction " + quoted(mnemonic));
  return reader_.fail(mnemonic, "this form of '" + std::string(base) + "' is not supported: " + quoted(mnemonic));
}

// A register, a number, the address of a variable, or two halves of a register.
bool KernelParser::move(const Token& mnemonic) {
  const Operation* const operation = operation_named(mnemonic.text);
  if (operation == nullptr) return unknown(mnemonic);
  const Type type = operation->destination;
  if (reader_.peek().is('{')) return unpack(mnemonic, type);
  if (reader_.peek(2).is('{')) return pack(mnemonic, type);
  const Token name = reader_.peek(2);
  const bool is_variable =
      name.kind == TokenKind::word && !scopes_.find_register(name.text) && find_symbol(name) != nullptr;
  if (!is_variable) return lane_operation(mnemonic);
  const auto target = destination(type, Width::exact);
  if (!target || !comma()) return false;
  reader_.next();
  if (facts(type).family == Family::real || facts(type).family == Family::predicate)
    return reader_.fail(name, "an address is no ." + std::string(facts(type).name));
  Address distance;
  if (!offset(distance)) return false;
  const auto row =
      symbol_address(name, *find_symbol(name), static_cast<std::uint64_t>(distance.offset), bytes_of(type));
  if (!row) return false;
  builder_.emit(operation->number).row = {target->row, *row};
  return true;
}

// mov.b64 d, {low, high}
bool KernelParser::pack(const Token& mnemonic, Type type) {
  if (type != Type::b64 && type != Type::b32) return unknown(mnemonic);
  const Type half = type == Type::b64 ? Type::b32 : Type::b16;
  const auto target = destination(type, Width::exact);
  if (!target || !comma() || !reader_.expect('{', "before the halves")) return false;
  const auto low = source(half);
  if (!low || !comma()) return false;
  const auto high = source(half);
  if (!high || !reader_.expect('}', "after the halves")) return false;
  builder_.emit(type == Type::b64 ? "pack b64" : "pack b32").row = {target->row, *low, *high};
  return true;
}

// mov.b64 {low, high}, a
bool KernelParser::unpack(const Token& mnemonic, Type type) {
  if (type != Type::b64 && type != Type::b32) return unknown(mnemonic);
  const bool is_long = type == Type::b64;
  const Type half = is_long ? Type::b32 : Type::b16;
  if (!reader_.expect('{', "before the halves")) return false;
  const auto low = destination(half, Width::exact);
  if (!low || !comma()) return false;
  const auto high = destination(half, Width::exact);
  if (!high || !reader_.expect('}', "after the halves") || !comma()) return false;
  const auto from = source(type);
  if (!from) return false;
  builder_.emit(is_long ? "cvt.u32.u64" : "cvt.u16.u32").row = {low->row, *from};
  builder_.emit(is_long ? "high b64" : "high b32").row = {high->row, *from};
  return true;
}

// "setp.lt.and.ftz.u32" is a comparison setp.lt.u32 that combines its result by and.
std::optional<KernelParser::Comparison> KernelParser::comparison(std::string name) {
  constexpr std::array<std::string_view, 3> kCombinations{"and", "or", "xor"};
  Comparison out;
  if (const auto ftz = name.find(".ftz."); ftz != std::string::npos) {
    out.flushes = true;
    name.erase(ftz, 4);
  }
  const auto type_at = name.rfind('.');
  const auto before_type = std::string_view(name).substr(0, type_at);
  if (const auto last = last_of(before_type); is_one_of(last, kCombinations)) {
    out.combination = last;
    name.erase(type_at - last.size() - 1, last.size() + 1);
  }
  out.operation = operation_named(name);
  if (out.operation == nullptr) return std::nullopt;
  const Type type = out.operation->source[0];
  if (out.flushes && type != Type::f32 && type != Type::f16) return std::nullopt;
  return out;
}

// a, b and what to combine with, compared into `result`; its inverse into `negation`, combined as well.
bool KernelParser::compare_operands(const Comparison& how, std::uint32_t result, std::uint32_t negation) {
  const Type type = how.operation->source[0];
  auto a = source(type);
  if (!a || !comma()) return false;
  auto b = source(type);
  if (!b) return false;
  if (how.flushes) a = flushed(*a, type), b = flushed(*b, type);
  builder_.emit(how.operation->number).row = {result, *a, *b};
  if (result != negation) builder_.emit("not.pred").row = {negation, result};
  return how.combination.empty() || combine(how.combination, result, negation);
}

// setp.lt.u32 p, a, b;  p|q also stores the inverse;  setp.lt.and.u32 p, a, b, c combines with a predicate.
bool KernelParser::compare(const Token& mnemonic) {
  const auto how = comparison(std::string(mnemonic.text));
  if (!how) return unknown(mnemonic);
  const auto target = destination(Type::pred, Width::exact);
  if (!target) return false;
  const bool has_inverse = reader_.accept('|');
  const auto inverse = has_inverse ? destination(Type::pred, Width::exact) : target;
  if (!inverse || !comma()) return false;
  if (how->combination.empty() && !has_inverse) return compare_operands(*how, target->row, target->row);
  const std::uint32_t result = builder_.temporary(1), negation = builder_.temporary(1);
  if (!compare_operands(*how, result, negation)) return false;
  store_predicates(*target, result, *inverse, negation);
  return true;
}

bool KernelParser::combine(std::string_view combination, std::uint32_t result, std::uint32_t negation) {
  if (!comma()) return false;
  const bool negated = reader_.accept('!');
  auto with = source(Type::pred);
  if (!with) return false;
  if (negated) {
    const std::uint32_t row = builder_.temporary(1);
    builder_.emit("not.pred").row = {row, *with};
    with = row;
  }
  const std::string name = std::string(combination) + ".pred";
  builder_.emit(name).row = {result, result, *with};
  builder_.emit(name).row = {negation, negation, *with};
  return true;
}

// Steps run under the guard of their instruction: a guard that is written itself comes last.
void KernelParser::store_predicates(const Source& target, std::uint32_t result, const Source& inverse,
                                    std::uint32_t negation) {
  const bool target_last = builder_.guard().present && builder_.guard().row == target.row;
  if (!target_last) builder_.emit("mov.pred").row = {target.row, result};
  if (inverse.row != target.row) builder_.emit("mov.pred").row = {inverse.row, negation};
  if (target_last) builder_.emit("mov.pred").row = {target.row, result};
}

bool KernelParser::branch(const Token& mnemonic) {
  if (!mnemonic.is("bra") && !mnemonic.is("bra.uni")) return unknown(mnemonic);
  const auto label = reader_.name("a label");
  if (!label) return false;
  jumps_.push_back({builder_.position(), *label});
  builder_.emit(Control::branch);
  return true;
}

bool KernelParser::barrier(const Token& mnemonic) {
  constexpr std::array<std::string_view, 6> kAccepted{"bar.sync",         "bar.cta.sync",
                                                      "barrier.sync",     "barrier.sync.aligned",
                                                      "barrier.cta.sync", "barrier.cta.sync.aligned"};
  if (mnemonic.is("bar.warp.sync")) return warp_barrier();
  if (!is_one_of(mnemonic.text, kAccepted)) return unknown(mnemonic);
  const auto number = reader_.integer("the number of a barrier (registers are not supported here)", kBarrierLimit);
  if (!number) return false;
  std::uint64_t threads = 0;
  if (reader_.accept(',')) {
    const Token at = reader_.peek();
    const auto count = reader_.integer("a number of threads (registers are not supported here)", kThreadLimit);
    if (!count) return false;
    if (*count == 0 || *count % 32 != 0)
      return reader_.fail(at, "a barrier waits for whole warps: a multiple of 32 threads");
    threads = *count;
  }
  Instruction& in = builder_.emit(Control::barrier);
  in.barrier = static_cast<std::uint8_t>(*number);
  in.immediate = static_cast<std::int64_t>(threads);
  return true;
}

bool KernelParser::end(const Token& mnemonic) {
  constexpr std::array<std::string_view, 3> kAccepted{"exit", "ret", "ret.uni"};
  if (!is_one_of(mnemonic.text, kAccepted)) return unknown(mnemonic);
  if (is_function_ && !mnemonic.is("exit"))
    return_results();
  else
    builder_.emit(Control::exit);
  return true;
}

bool KernelParser::trap(const Token& mnemonic) {
  if (!mnemonic.is("trap")) return unknown(mnemonic);
  builder_.emit(Control::trap);
  return true;
}

bool KernelParser::fence(const Token& mnemonic) {
  constexpr std::array<std::string_view, 9> kAccepted{"membar.cta",        "membar.gl",         "membar.sys",
                                                      "fence.sc.cta",      "fence.sc.gpu",      "fence.sc.sys",
                                                      "fence.acq_rel.cta", "fence.acq_rel.gpu", "fence.acq_rel.sys"};
  if (!is_one_of(mnemonic.text, kAccepted)) return unknown(mnemonic);
  builder_.emit("fence");
  return true;
}

bool KernelParser::nanosleep(const Token& mnemonic) {
  if (!mnemonic.is("nanosleep.u32")) return unknown(mnemonic);
  const auto wish_ns = source(Type::u32);
  if (!wish_ns) return false;
  builder_.emit("nanosleep").row = {0, *wish_ns};
  return true;
}

}  // namespace lull::ptx
