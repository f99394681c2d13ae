// shim/log.h: what the shim says, only when asked by LULL_LOG=1, and only to standard error.
#pragma once

namespace lull::log {

bool wanted();
[[gnu::format(printf, 1, 2)]] void line(const char* format, ...);

}  // namespace lull::log
