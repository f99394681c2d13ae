#include "broker/chart.h"

#include <algorithm>

namespace lull {

using policy::Bytes;
using policy::Time;

Doing doing_of(const policy::Client& c) {
  if (c.gate.state == GateState::unmanaged) return Doing::unmanaged;
  const bool whole = c.resident >= c.needed;
  if (c.gate.state == GateState::open) return whole ? Doing::running : Doing::restoring;
  const auto p = c.phase.phase;
  const bool drained =
      c.phase.generation == c.gate.generation && (p == Phase::drained || p == Phase::moving || p == Phase::ready);
  if (!drained) return Doing::draining;
  if (c.quota && *c.quota < c.resident) return Doing::evicting;
  if (whole) return Doing::paused;
  return c.quota && *c.quota > c.resident && p == Phase::moving ? Doing::restoring : Doing::evicted;
}

void Chart::note(const Table& table, Bytes foreign, Bytes grain, Time now) {
  if (lines_.empty()) lines_.push_back({Who{}, {0, 0, Doing::gone, 0}});
  add(lines_.front(), foreign ? Doing::unmanaged : Doing::gone, foreign, grain, now);
  // Both are sorted by client, and ids are never used again: one walk finds who is new and who has left.
  std::size_t at = 1;
  for (const auto& c : table.clients) {
    for (; at < lines_.size() && lines_[at].who.id < c.id;) {
      bury(lines_[at], now);
      lines_.erase(lines_.begin() + static_cast<std::ptrdiff_t>(at));
    }
    if (at == lines_.size())
      lines_.push_back(
          {table.seats[static_cast<std::size_t>(&c - table.clients.data())].who(), {0, c.id, Doing::gone, 0}});
    add(lines_[at++], doing_of(c), c.resident, grain, now);
  }
  for (; at < lines_.size(); lines_.pop_back()) bury(lines_.back(), now);
  forget_old();
}

void Chart::bury(Line& line, Time now) {
  add(line, Doing::gone, 0, 1, now);
  gone_.push_back({std::move(line.who), now});
}

void Chart::add(Line& line, Doing doing, Bytes resident, Bytes grain, Time now) {
  auto& last = line.last;
  const Bytes moved = std::max(resident, last.resident) - std::min(resident, last.resident);
  if (doing == last.doing && (moved == 0 || (moved < grain && now - last.at < soon))) return;
  last = {now, line.who.id, doing, resident};
  points_.push_back(last);
}

void Chart::forget_old() {
  while (points_.size() > kept) points_.pop_front();
  while (!gone_.empty() && gone_.front().at < points_.front().at) gone_.pop_front();
}

std::vector<Who> Chart::who() const {
  std::vector<Who> all;
  for (const auto& left : gone_) all.push_back(left.who);
  for (const auto& line : lines_)
    if (line.who.id != 0) all.push_back(line.who);
  return all;
}

}  // namespace lull
