// What programs that end by a case's order do (exits_test.cpp).
#pragma once
#include <string_view>

namespace lull::hazards {

int run_ending(std::string_view name);  // 64: there is none of this name

}  // namespace lull::hazards
