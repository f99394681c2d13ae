// Instructions by which the threads of a warp meet: each first waits for all threads of its member mask.

#include <array>
#include <string>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {

// The member mask, and the step that waits for its threads.
std::optional<std::uint32_t> KernelParser::members() {
  const auto mask = source(Type::b32);
  if (mask) {
    Instruction& meeting = builder_.emit(Control::meet);
    meeting.row = {*mask};
    meeting.weight = 0;  // threads may come here twice; what they meet for counts
    builder_.count_next();
  }
  return mask;
}

// Without .sync there is nobody who says which threads take part; such forms ended with sm_70.
bool KernelParser::needs_sync(const Token& mnemonic) {
  const auto base = mnemonic.text.substr(0, mnemonic.text.find('.'));
  if (mnemonic.text.substr(base.size()).find(".sync.") != std::string_view::npos) return unknown(mnemonic);
  return reader_.fail(mnemonic, quoted(mnemonic) + " needs .sync and a member mask since sm_70: " + std::string(base) +
                                    (base == "match"  ? ".any.sync"
                                     : base == "vote" ? ".sync.all"
                                                      : ".sync"));
}

// shfl.sync.down.b32 d|p, a, b, c, mask
bool KernelParser::shuffle(const Token& mnemonic) {
  const Operation* const operation = operation_named(mnemonic.text);
  if (operation == nullptr) return needs_sync(mnemonic);
  const auto target = destination(Type::b32, Width::exact);
  if (!target) return false;
  const bool has_predicate = reader_.accept('|');
  const auto inside = has_predicate ? destination(Type::pred, Width::exact) : target;
  if (!inside || !comma()) return false;
  const auto a = source(Type::b32);
  if (!a || !comma()) return false;
  const auto b = source(Type::u32);
  if (!b || !comma()) return false;
  const auto c = source(Type::u32);
  if (!c || !comma()) return false;
  const auto mask = members();
  if (!mask) return false;
  const std::uint32_t is_inside = has_predicate ? builder_.temporary(1) : 0;
  if (has_predicate) builder_.emit("inside " + std::string(mnemonic.text)).row = {is_inside, 0, *b, *c};
  builder_.emit(operation->number).row = {target->row, *a, *b, *c, *mask};
  if (has_predicate) builder_.emit("mov.pred").row = {inside->row, is_inside};
  return true;
}

// vote.sync.ballot.b32 d, {!}a, mask
bool KernelParser::vote(const Token& mnemonic) {
  const Operation* const operation = operation_named(mnemonic.text);
  if (operation == nullptr) return needs_sync(mnemonic);
  const auto target = destination(operation->destination, Width::exact);
  if (!target || !comma()) return false;
  const bool negated = reader_.accept('!');
  auto a = source(Type::pred);
  if (!a || !comma()) return false;
  const auto mask = members();
  if (!mask) return false;
  if (negated) {
    const std::uint32_t row = builder_.temporary(1);
    builder_.emit("not.pred").row = {row, *a};
    a = row;
  }
  builder_.emit(operation->number).row = {target->row, *a, 0, 0, *mask};
  return true;
}

// match.any.sync.b32 d, a, mask;  match.all.sync.b32 d|p, a, mask;  redux.sync.add.u32 d, a, mask
bool KernelParser::match(const Token& mnemonic) {
  const Operation* const operation = operation_named(mnemonic.text);
  if (operation == nullptr) return needs_sync(mnemonic);
  const auto target = destination(operation->destination, Width::exact);
  if (!target) return false;
  const bool has_predicate = mnemonic.text.starts_with("match.all") && reader_.accept('|');
  const auto all_same = has_predicate ? destination(Type::pred, Width::exact) : target;
  if (!all_same || !comma()) return false;
  const auto a = source(operation->source[0]);
  if (!a || !comma()) return false;
  const auto mask = members();
  if (!mask) return false;
  const std::uint32_t result = has_predicate ? builder_.temporary(4) : target->row;
  builder_.emit(operation->number).row = {result, *a, 0, 0, *mask};
  if (has_predicate) {
    builder_.emit("mov.b32").row = {target->row, result};
    builder_.emit("setp.ne.u32").row = {all_same->row, result, builder_.constant(4, 0)};
  }
  return true;
}

bool KernelParser::active_mask(const Token& mnemonic) {
  if (!mnemonic.is("activemask.b32")) return unknown(mnemonic);
  const auto target = destination(Type::b32, Width::exact);
  if (target) builder_.emit("activemask").row = {target->row};
  return target.has_value();
}

// bar.warp.sync mask
bool KernelParser::warp_barrier() {
  const auto mask = source(Type::b32);
  if (mask) builder_.emit(Control::meet).row = {*mask};
  return mask.has_value();
}

}  // namespace lull::ptx
