// tests/cli/text.h: what is in a text.
#pragma once
#include <string>

namespace lull::cli::test {

inline bool has(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }

}  // namespace lull::cli::test
