// Calls: arguments are copied to where the callee's frame will be, right behind the caller's, and results from there.

#include <array>
#include <string>

#include "tests/driver/ptx/kernel_parser.h"

namespace lull::ptx {

// The operands in parentheses; the caller has seen the first one.
bool KernelParser::call_operands(std::vector<Token>& out) {
  reader_.next();
  if (reader_.accept(')')) return true;
  do {
    const Token token = reader_.next();
    if (token.kind == TokenKind::end || token.kind == TokenKind::bad || token.kind == TokenKind::string ||
        (token.kind == TokenKind::sign && !token.is('-')))
      return reader_.fail(token, "expected an operand of call, found " + quoted(token));
    if (token.is('-')) return reader_.fail(token, "call takes registers, numbers without sign and .param variables");
    out.push_back(token);
  } while (reader_.accept(','));
  return reader_.expect(')', "after the operands of call");
}

// call.uni (result), function, (a, b)
bool KernelParser::call(const Token& mnemonic) {
  if (!mnemonic.is("call") && !mnemonic.is("call.uni")) return unknown(mnemonic);
  std::vector<Token> results, arguments;
  if (reader_.peek().is('(') && (!call_operands(results) || !comma())) return false;
  const auto callee = reader_.name("a function");
  if (!callee) return false;
  if (scopes_.find_register(callee->text))
    return reader_.fail(*callee, "calls through a register are not supported: name the function");
  if (reader_.accept(',')) {
    if (!reader_.peek().is('('))
      return reader_.fail(reader_.peek(), "expected '(' before the arguments, found " + quoted(reader_.peek()));
    if (!call_operands(arguments)) return false;
  }
  const auto function = functions_.find(callee->text);
  if (function == functions_.end())
    return reader_.fail(*callee, "function " + quoted(*callee) + " is not declared before its call");
  const Prototype& prototype = function->second.prototype;
  const auto count = [&](std::string_view what, std::size_t have, std::size_t want) {
    return have == want || reader_.fail(*callee, quoted(*callee) + " has " + std::to_string(want) + " " +
                                                     std::string(what) + ", the call has " + std::to_string(have));
  };
  if (!count("results", results.size(), prototype.results.size())) return false;
  if (!count("parameters", arguments.size(), prototype.parameters.size())) return false;
  for (std::size_t i = 0; i < arguments.size(); ++i)
    if (!pass(arguments[i], prototype.parameters[i])) return false;
  calls_.push_back({builder_.position(), std::string(callee->text), {callee->line, callee->column}});
  builder_.emit(Control::call);
  for (std::size_t i = 0; i < results.size(); ++i)
    if (!fetch(results[i], prototype.results[i])) return false;
  return true;
}

Instruction& KernelParser::beyond_frame(Instruction& in, std::uint64_t offset) {
  beyond_frame_.push_back(builder_.position() - 1);
  in.immediate = static_cast<std::int64_t>(offset);
  return in;
}

bool KernelParser::pass(const Token& value, const Formal& formal) {
  const Symbol* const symbol =
      value.kind == TokenKind::word && !scopes_.find_register(value.text) ? scopes_.find_symbol(value.text) : nullptr;
  if (symbol != nullptr && symbol->in_frame) {
    if (symbol->size != formal.size)
      return reader_.fail(value, quoted(value) + " has " + std::to_string(symbol->size) + " bytes, the parameter " +
                                     std::to_string(formal.size));
    copy_words(symbol->offset, formal.offset, formal.size, true);
    return true;
  }
  std::optional<std::uint32_t> row;
  if (value.kind == TokenKind::word) {
    const auto reg = scopes_.find_register(value.text);
    if (!reg) return reader_.fail(value, "register " + quoted(value) + " is not declared");
    if (!check(value, reg->type, formal.type, Width::exact)) return false;
    row = reg->row;
  } else {
    const auto bits = reader_.literal_of(value, formal.type);
    if (!bits) return false;
    row = builder_.constant(bytes_of(formal.type), *bits);
  }
  if (formal.size != bytes_of(formal.type)) return reader_.fail(value, "an array is passed by a .param variable");
  Instruction& in = builder_.emit("st local b" + std::to_string(formal.size * 8));
  in.row = {*row};
  beyond_frame(in, formal.offset);
  return true;
}

bool KernelParser::fetch(const Token& target, const Formal& formal) {
  const Symbol* const symbol = target.kind == TokenKind::word && !scopes_.find_register(target.text)
                                   ? scopes_.find_symbol(target.text)
                                   : nullptr;
  if (symbol != nullptr && symbol->in_frame) {
    if (symbol->size != formal.size)
      return reader_.fail(target, quoted(target) + " has " + std::to_string(symbol->size) + " bytes, the result " +
                                      std::to_string(formal.size));
    copy_words(formal.offset, symbol->offset, formal.size, false);
    return true;
  }
  if (target.kind != TokenKind::word) return reader_.fail(target, "expected a register, found " + quoted(target));
  std::uint32_t row = 0;
  if (target.is("_")) return true;
  const auto reg = scopes_.find_register(target.text);
  if (!reg) return reader_.fail(target, "register " + quoted(target) + " is not declared");
  if (!check(target, reg->type, formal.type, Width::exact)) return false;
  row = reg->row;
  if (formal.size != bytes_of(formal.type)) return reader_.fail(target, "an array is returned in a .param variable");
  Instruction& in = builder_.emit("ld local b" + std::to_string(formal.size * 8));
  in.row = {row};
  beyond_frame(in, formal.offset);
  return true;
}

// Between the frame and what lies behind it, in the largest words that both places are aligned to.
void KernelParser::copy_words(std::uint64_t from, std::uint64_t to, std::uint64_t size, bool out_of_frame) {
  for (std::uint64_t done = 0; done < size;) {
    std::uint64_t bytes = 8;
    while ((from + done) % bytes != 0 || (to + done) % bytes != 0 || size - done < bytes) bytes /= 2;
    const std::string width = std::to_string(bytes * 8);
    const std::uint32_t word = builder_.temporary(static_cast<unsigned>(bytes));
    Instruction& load = builder_.emit("ld local b" + width);
    load.row = {word};
    load.immediate = static_cast<std::int64_t>(from + done);
    if (!out_of_frame) beyond_frame(load, from + done);
    Instruction& store = builder_.emit("st local b" + width);
    store.row = {word};
    store.immediate = static_cast<std::int64_t>(to + done);
    if (out_of_frame) beyond_frame(store, to + done);
    done += bytes;
  }
}

// The results that are registers go to the frame, where the caller fetches them.
void KernelParser::return_results() {
  for (const Formal& formal : prototype_->results) {
    if (!formal.is_register) continue;
    Instruction& in = builder_.emit("st local b" + std::to_string(formal.size * 8));
    in.row = {scopes_.find_register(formal.name)->row};
    in.immediate = static_cast<std::int64_t>(formal.offset);
  }
  builder_.emit(Control::ret);
}

}  // namespace lull::ptx
