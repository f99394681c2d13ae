// broker/cli/library.h: where the library is that programs are given.
#pragma once
#include <optional>
#include <string>

namespace lull::cli {

// LULL_LIBRARY, else beside this program in a build tree, else where it is installed. Nothing: not there; `tried` says
// where.
std::optional<std::string> find_library(std::string& tried);

}  // namespace lull::cli
