#include "broker/phase_book.h"

#include "broker/switches.h"

namespace lull {

using policy::Time;

const char* name_of(SwitchKind kind) {
  constexpr const char* names[] = {"preemption", "handover", "vacant"};
  return names[static_cast<std::size_t>(kind)];
}

SwitchKind kind_of(const Switch& s) {
  if (s.preemption()) return SwitchKind::preemption;
  return s.from.empty() ? SwitchKind::vacant : SwitchKind::handover;
}

std::array<std::optional<Time>, switch_parts.size()> parts_of(const Switch& s) {
  std::array<std::optional<Time>, switch_parts.size()> parts;
  if (s.seen == 0 || s.first_kernel == 0) return parts;
  const std::array<Time, switch_parts.size()> ends = {s.closed,   s.drained, s.evicted,
                                                      s.restored, s.opened,  s.first_kernel};
  Time at = s.seen;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] == 0) continue;
    // The client tells of its last byte and of its first kernel; the broker may read of both at once, and dates only
    // the second by the client's word.
    const Time end = std::clamp(ends[i], at, std::max(at, s.first_kernel));
    parts[i] = end - at;
    at = end;
  }
  return parts;
}

void PhaseBook::add(const Switch& s) {
  if (s.seen == 0 || s.first_kernel == 0) return;
  auto& page = pages_[static_cast<std::size_t>(kind_of(s))];
  page.whole.add(std::max(s.first_kernel, s.seen) - s.seen);
  const auto parts = parts_of(s);
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i]) page.parts[i].add(*parts[i]);
}

}  // namespace lull
