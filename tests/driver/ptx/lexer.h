#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace lull::ptx {

enum class TokenKind : std::uint8_t {
  end,
  word,     // names, registers, directives and mnemonics, their dots included: ld.global.f32, %tid.x, .reg
  integer,  // value: the number
  real32,   // 0f3F800000; value: the bits of a float
  real64,   // 0d3FF0000000000000, 1.0; value: the bits of a double
  string,   // text: without the quotes
  sign,     // one character
  bad,      // text: what is wrong, in words
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;  // of the source, so valid as long as it
  std::uint64_t value = 0;
  int line = 1;
  int column = 1;

  bool is(char character) const { return kind == TokenKind::sign && text[0] == character; }
  bool is(std::string_view word) const { return kind == TokenKind::word && text == word; }
};

// The last token is `end`, or the first `bad` one.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lull::ptx
