#pragma once

#include <optional>

#include "tests/driver/ptx/reader.h"
#include "tests/driver/ptx/unit.h"

namespace lull::ptx {

struct FunctionHead {
  Token name;
  Prototype prototype;
};

// What follows .func, up to the body or the semicolon: (results) name (parameters) and directives.
std::optional<FunctionHead> read_function_head(Reader& reader);

}  // namespace lull::ptx
