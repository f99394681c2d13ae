// broker/cli/library.h: where the library is that programs are given.
#pragma once
#include <optional>
#include <string>

namespace lull::cli {

// LULL_LIBRARY, else beside this program in a build tree, else where it is installed. Nothing: not there; `tried` says
// where.
std::optional<std::string> find_library(std::string& tried);

// Why the loader could not preload a library of this path; "": it can.
std::string wrong_with_path(const std::string& library);

// Puts it first into this process's LD_PRELOAD. Already there (a run within a run), it is not added twice.
void preload(const std::string& library);

}  // namespace lull::cli
