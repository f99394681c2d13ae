#include "broker/policy.h"

#include <algorithm>

namespace lull::policy {

Bytes charge(const Client& c, const Gpu& gpu) {
  const Bytes movable = std::max(c.quota_high, c.resident);
  const Bytes native = std::max(gpu.native_reserve, c.native);
  return movable > ~native ? ~Bytes{0} : movable + native;
}

Bytes free_now(const State& state) {
  Bytes left = state.gpu.capacity;
  const auto take = [&left](Bytes bytes) { left -= std::min(left, bytes); };
  take(state.gpu.headroom);
  take(state.gpu.foreign);
  for (const Client& c : state.clients) take(charge(c, state.gpu));
  return left;
}

}  // namespace lull::policy
