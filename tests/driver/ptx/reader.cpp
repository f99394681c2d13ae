#include "tests/driver/ptx/reader.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace lull::ptx {
namespace {

constexpr std::size_t kQuotedLimit = 60;  // characters of the text in a message

bool is_name(std::string_view word) {
  const bool starts_well = word[0] != '.' && (word.size() > 1 || (word[0] != '_' && word[0] != '$' && word[0] != '%'));
  return starts_well && word.find_first_of(".:") == std::string_view::npos;
}

bool fits(std::uint64_t value, unsigned bytes, bool negative) {
  const unsigned bits = bytes * 8;
  if (negative) return value <= std::uint64_t{1} << (bits - 1);
  return bits == 64 || value >> bits == 0;
}

}  // namespace

std::string quoted(const Token& token) {
  if (token.kind == TokenKind::end) return "the end of the text";
  std::string text(token.text.substr(0, kQuotedLimit));
  if (token.text.size() > kQuotedLimit) text += "...";
  return "'" + text + "'";
}

const Token& Reader::peek(std::size_t ahead) const { return tokens_[std::min(position_ + ahead, tokens_.size() - 1)]; }

const Token& Reader::next() {
  const Token& token = peek();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool Reader::accept(char sign) {
  if (!peek().is(sign)) return false;
  next();
  return true;
}

bool Reader::accept(std::string_view word) {
  if (!peek().is(word)) return false;
  next();
  return true;
}

bool Reader::expect(char sign, std::string_view where) {
  if (accept(sign)) return true;
  return fail(peek(), "expected '" + std::string(1, sign) + "' " + std::string(where) + ", found " + quoted(peek()));
}

bool Reader::fail(const Token& at, std::string message) {
  if (at.kind == TokenKind::bad) message = at.text;
  if (!error_) error_ = Error{std::move(message), at.line, at.column};
  return false;
}

bool Reader::fail_as_newer(const Token& at, std::string message) {
  if (!error_) error_ = Error{std::move(message), at.line, at.column, true};
  return false;
}

std::optional<Token> Reader::name(std::string_view what) {
  const Token& token = peek();
  if (token.kind == TokenKind::word && is_name(token.text)) return next();
  fail(token, "expected the name of " + std::string(what) + ", found " + quoted(token));
  return std::nullopt;
}

std::optional<std::uint64_t> Reader::integer(std::string_view what, std::uint64_t largest) {
  const Token& token = peek();
  if (token.kind == TokenKind::integer && token.value <= largest) return next().value;
  fail(token,
       "expected " + std::string(what) + ", a number up to " + std::to_string(largest) + ", found " + quoted(token));
  return std::nullopt;
}

std::optional<std::uint64_t> Reader::literal(Type type) {
  const bool negative = accept('-');
  return literal_of(next(), type, negative);
}

std::optional<std::uint64_t> Reader::literal_of(const Token& number, Type type, bool negative) {
  switch (number.kind) {
    case TokenKind::integer: return integer_literal(number, type, negative);
    case TokenKind::real32:
    case TokenKind::real64: return real_literal(number, type, negative);
    default: fail(number, "expected a number, found " + quoted(number)); return std::nullopt;
  }
}

std::optional<std::uint64_t> Reader::real_literal(const Token& number, Type type, bool negative) {
  const unsigned bytes = bytes_of(type);
  if (type == Type::f16 || type == Type::f16x2) {
    fail(number, "half precision cannot be written as a number: move its bits into the register, mov.b16 d, 0x3C00");
    return std::nullopt;
  }
  if (facts(type).family != Family::real && (facts(type).family != Family::bits || bytes < 4)) {
    fail(number, "the real number " + quoted(number) + " does not go with type ." + std::string(facts(type).name));
    return std::nullopt;
  }
  const std::uint64_t sign = negative ? std::uint64_t{1} << (bytes * 8 - 1) : 0;
  if (bytes == 4) {
    const bool is_single = number.kind == TokenKind::real32;
    const auto rounded = std::bit_cast<std::uint32_t>(static_cast<float>(std::bit_cast<double>(number.value)));
    return sign ^ (is_single ? number.value : rounded);
  }
  const double widened = std::bit_cast<float>(static_cast<std::uint32_t>(number.value));
  return sign ^ (number.kind == TokenKind::real64 ? number.value : std::bit_cast<std::uint64_t>(widened));
}

std::optional<std::uint64_t> Reader::integer_literal(const Token& number, Type type, bool negative) {
  const unsigned bytes = bytes_of(type);
  if (facts(type).family == Family::real || facts(type).family == Family::pair) {
    fail(number, "the integer " + quoted(number) + " does not go with type ." + std::string(facts(type).name) +
                     ": write 1 as 1.0 or 0f3F800000");
    return std::nullopt;
  }
  if (facts(type).family == Family::predicate) {
    fail(number, "a predicate cannot be written as a number");
    return std::nullopt;
  }
  if (!fits(number.value, bytes, negative)) {
    fail(number, "the number " + quoted(number) + " does not fit type ." + std::string(facts(type).name));
    return std::nullopt;
  }
  const std::uint64_t value = negative ? 0 - number.value : number.value;
  return bytes == 8 ? value : value & ((std::uint64_t{1} << (bytes * 8)) - 1);
}

}  // namespace lull::ptx
