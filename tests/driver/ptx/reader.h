#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/ptx/lexer.h"
#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/types.h"

namespace lull::ptx {

// Walks over the tokens of a text and keeps the first error. Every bool here is false after an error.
class Reader {
 public:
  explicit Reader(std::string_view text) : tokens_(tokenize(text)) {}

  const Token& peek(std::size_t ahead = 0) const;
  const Token& next();
  bool accept(char sign);
  bool accept(std::string_view word);
  // `where` completes the message: expected ';' after .version.
  bool expect(char sign, std::string_view where);

  // Records the error and returns false. The first one stays.
  bool fail(const Token& at, std::string message);
  bool fail_as_newer(const Token& at, std::string message);
  const std::optional<Error>& error() const { return error_; }

  // A name that the text declares; `what` it is to name.
  std::optional<Token> name(std::string_view what);
  std::optional<std::uint64_t> integer(std::string_view what, std::uint64_t largest);
  // An immediate of this type, sign included, as the bits of a row element.
  std::optional<std::uint64_t> literal(Type type);
  // The same of a number that has been read.
  std::optional<std::uint64_t> literal_of(const Token& number, Type type, bool negative = false);

 private:
  std::optional<std::uint64_t> real_literal(const Token& number, Type type, bool negative);
  std::optional<std::uint64_t> integer_literal(const Token& number, Type type, bool negative);

  std::vector<Token> tokens_;
  std::size_t position_ = 0;
  std::optional<Error> error_;
};

// For messages: 'add.u32', or "the end of the text".
std::string quoted(const Token& token);

}  // namespace lull::ptx
