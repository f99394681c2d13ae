#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/driver/ptx/reader.h"

namespace lull::ptx {

// A variable as written: .align 16 .b8 name[64] = {1, 2}
struct Declaration {
  Token name;
  Type type = Type::none;
  std::uint64_t align = 1;   // bytes
  std::uint64_t size = 0;    // bytes; 0 if flexible
  bool is_flexible = false;  // name[] without initialiser
  bool is_initialised = false;
  std::vector<std::byte> initial;
  struct Address {  // of a variable, as a word of the initial value
    std::size_t offset = 0;
    Token name;
    std::int64_t addend = 0;
  };
  std::vector<Address> addresses;
};

// One type and one or more variables, after the state space and up to the semicolon.
std::optional<std::vector<Declaration>> read_variables(Reader& reader);

// A kernel parameter, after .param: no initialiser, no comma.
std::optional<Declaration> read_parameter(Reader& reader);

// A type token such as .u32, of which variables and registers can be made.
std::optional<Type> read_type(Reader& reader);

}  // namespace lull::ptx
