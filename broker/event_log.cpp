#include "broker/event_log.h"

#include <nlohmann/json.hpp>

namespace lull {
namespace {

using nlohmann::json;

json time_or_null(policy::Time t) { return t ? json(t) : json(nullptr); }

}  // namespace

std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

void EventLog::append(const json& event) {
  json numbered = event;
  numbered["seq"] = ++count_;
  ++counts_[event.value("event", "unnamed")];
  lines_.push_back(dump(numbered));
  if (lines_.size() > kept) lines_.pop_front();
  if (follower) follower(lines_.back());
}

json json_of(const Who& who) {
  return {
      {"client", who.id}, {"pid", who.pid}, {"uid", who.uid}, {"class", name_of(who.klass)}, {"tenant", who.tenant}};
}

json json_of(const Histogram& h) { return {{"counts", h.counts}, {"sum_ns", h.sum}}; }

json json_of(const PhaseBook& book) {
  json kinds = json::object();
  for (const auto kind : all_switch_kinds) {
    const auto& page = book.page(kind);
    json parts = json::object();
    for (std::size_t i = 0; i < switch_parts.size(); ++i) parts[switch_parts[i]] = json_of(page.parts[i]);
    kinds[name_of(kind)] = {{"whole", json_of(page.whole)}, {"parts", parts}};
  }
  return {{"bounds_ns", Histogram::bounds}, {"kinds", kinds}};
}

json json_of(const Switch& s) {
  json from = json::array();
  for (const auto& who : s.from) from.push_back(json_of(who));
  return {{"id", s.id},
          {"from", from},
          {"to", json_of(s.to)},
          {"reason", name_of(s.reason)},
          {"preemption", s.preemption()},
          {"evicted_bytes", s.evicted_bytes},
          {"restored_bytes", s.restored_bytes},
          {"predicted_ns", time_or_null(s.predicted)},
          {"moved_ns", time_or_null(s.moved())},
          {"phases",
           {{"seen", time_or_null(s.seen)},
            {"closed", time_or_null(s.closed)},
            {"drained", time_or_null(s.drained)},
            {"evicted", time_or_null(s.evicted)},
            {"restored", time_or_null(s.restored)},
            {"opened", time_or_null(s.opened)},
            {"first_kernel", time_or_null(s.first_kernel)},
            {"ended", time_or_null(s.ended)}}}};
}

}  // namespace lull
