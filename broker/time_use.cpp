#include "broker/time_use.h"

#include <algorithm>
#include <utility>

namespace lull {

void TimeUse::observe(const policy::State& state, policy::Time now) {
  const policy::Time before = std::exchange(seen_, now);
  if (before == 0 || now <= before) return;
  std::array<bool, 3> runs{};
  bool service = false;
  for (const auto& c : state.clients) {
    service = service || c.klass != Class::training;
    if (c.gate.state == GateState::open && c.resident >= c.needed) runs[static_cast<std::size_t>(c.klass)] = true;
  }
  for (std::size_t k = 0; k < runs.size(); ++k)
    if (runs[k]) ran_[k] += now - before;
  if (service && runs[static_cast<std::size_t>(Class::training)]) recovered_ += now - before;
}

}  // namespace lull
