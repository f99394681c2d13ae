#pragma once
#include <cstddef>

namespace lull::sim {

inline constexpr std::size_t usual_shared_bytes = 48u << 10;    // a block, without asking
inline constexpr std::size_t largest_shared_bytes = 64u << 10;  // with CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

}  // namespace lull::sim
