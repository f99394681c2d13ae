#include "tests/driver/ptx/lexer.h"

#include <bit>
#include <charconv>
#include <system_error>

namespace lull::ptx {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' || c == '.';
}
bool is_word(char c) { return is_word_start(c) || is_digit(c); }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Token next() {
    if (!skip_blanks()) return token(TokenKind::bad, "comment without end: close it with */");
    start_ = position_;
    start_line_ = line_;
    start_column_ = column();
    if (position_ == source_.size()) return token(TokenKind::end, {});
    const char first = source_[position_];
    if (is_digit(first)) return number();
    if (is_word_start(first)) return word();
    if (first == '"') return string();
    if (std::string_view("{}[]()<>,;:+-@!|=~*/").find(first) == std::string_view::npos)
      return token(TokenKind::bad, "a character that PTX does not use");
    ++position_;
    return token(TokenKind::sign, source_.substr(start_, 1));
  }

 private:
  char ahead(std::size_t distance = 0) const {
    return position_ + distance < source_.size() ? source_[position_ + distance] : '\0';
  }
  int column() const { return static_cast<int>(position_ - line_start_) + 1; }
  Token token(TokenKind kind, std::string_view text, std::uint64_t value = 0) const {
    return {kind, text, value, start_line_, start_column_};
  }

  void advance() {
    if (source_[position_++] != '\n') return;
    ++line_;
    line_start_ = position_;
  }

  // False if a comment does not end.
  bool skip_blanks() {
    for (;;) {
      if (position_ == source_.size()) return true;
      if (is_space(source_[position_])) {
        advance();
      } else if (ahead() == '/' && ahead(1) == '/') {
        while (position_ < source_.size() && source_[position_] != '\n') advance();
      } else if (ahead() == '/' && ahead(1) == '*') {
        if (!skip_comment()) return false;
      } else {
        return true;
      }
    }
  }

  bool skip_comment() {
    start_line_ = line_;
    start_column_ = column();
    const auto end = source_.find("*/", position_ + 2);
    if (end == std::string_view::npos) return false;
    while (position_ < end + 2) advance();
    return true;
  }

  // Scopes of names such as .shared::cta belong to the word; the colon of a label does not.
  Token word() {
    while (is_word(ahead()) || (ahead() == ':' && ahead(1) == ':' && is_word(ahead(2))))
      position_ += ahead() == ':' ? 2 : 1;
    return token(TokenKind::word, source_.substr(start_, position_ - start_));
  }

  Token string() {
    const auto end = source_.find_first_of("\"\n", position_ + 1);
    if (end == std::string_view::npos || source_[end] == '\n')
      return token(TokenKind::bad, "string without end: close it with \"");
    position_ = end + 1;
    return token(TokenKind::string, source_.substr(start_ + 1, end - start_ - 1));
  }

  Token number() {
    while (is_word(ahead()) || ((ahead() == '+' || ahead() == '-') && in_exponent())) ++position_;
    const auto text = source_.substr(start_, position_ - start_);
    if (text.starts_with("0f") || text.starts_with("0F")) return bits(text, TokenKind::real32, 8);
    if (text.starts_with("0d") || text.starts_with("0D")) return bits(text, TokenKind::real64, 16);
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (!hex && text.find_first_of(".eE") != std::string_view::npos) return decimal_real(text);
    return integer(text, hex);
  }

  // 1.5e-3: a sign right after the e of a decimal number.
  bool in_exponent() const {
    const char last = source_[position_ - 1];
    return (last == 'e' || last == 'E') && source_.substr(start_, 2).find_first_of("xX") == std::string_view::npos;
  }

  Token bits(std::string_view text, TokenKind kind, std::size_t digits) const {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + 2, end, value, 16);
    if (text.size() != digits + 2 || parsed.ptr != end || parsed.ec != std::errc{})
      return token(TokenKind::bad, kind == TokenKind::real32 ? "0f takes exactly 8 hexadecimal digits"
                                                             : "0d takes exactly 16 hexadecimal digits");
    return token(kind, text, value);
  }

  Token decimal_real(std::string_view text) const {
    double value = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ptr != end || parsed.ec != std::errc{}) return token(TokenKind::bad, "malformed number");
    return token(TokenKind::real64, text, std::bit_cast<std::uint64_t>(value));
  }

  Token integer(std::string_view text, bool hex) const {
    const bool binary = text.starts_with("0b") || text.starts_with("0B");
    const int base = hex ? 16 : binary ? 2 : text[0] == '0' ? 8 : 10;
    auto digits = hex || binary ? text.substr(2) : text;
    if (digits.ends_with('U')) digits.remove_suffix(1);
    std::uint64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value, base);
    if (parsed.ec == std::errc::result_out_of_range) return token(TokenKind::bad, "number does not fit 64 bits");
    if (digits.empty() || parsed.ptr != end || parsed.ec != std::errc{})
      return token(TokenKind::bad, "malformed number");
    return token(TokenKind::integer, text, value);
  }

  std::string_view source_;
  std::size_t position_ = 0;
  std::size_t line_start_ = 0;
  std::size_t start_ = 0;
  int line_ = 1;
  int start_line_ = 1;
  int start_column_ = 1;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  Lexer lexer(source);
  std::vector<Token> tokens;
  do tokens.push_back(lexer.next());
  while (tokens.back().kind != TokenKind::end && tokens.back().kind != TokenKind::bad);
  return tokens;
}

}  // namespace lull::ptx
