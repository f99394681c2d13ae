#include "broker/policy_outlook.h"

#include <algorithm>

namespace lull::policy {
namespace {

constexpr int looks = 32;           // ahead; each is a time at which a rule's answer may change
constexpr Time at_work = 250 * ms;  // a shim tells of submissions every 100 ms
constexpr Time horizon = 86400 * second;

// The same clients at another time: who was at work before is still at work.
void go_on(State& then, const State& now_state, Time now, Time at) {
  for (std::size_t i = 0; i < then.clients.size(); ++i) {
    const auto& was = now_state.clients[i];
    const bool works = was.gate.state != GateState::closed && was.last_submission + at_work > now;
    if (works) then.clients[i].last_submission = at;
    if (was.waiting > 0 && works) then.clients[i].last_request_activity = at;
  }
}

bool ends(const Decisions& decisions) {
  return std::any_of(decisions.begin(), decisions.end(),
                     [](const Decision& d) { return std::holds_alternative<EndLease>(d); });
}

std::optional<Time> wake(const Decisions& decisions) {
  for (const auto& d : decisions)
    if (const auto* at = std::get_if<WakeAt>(&d)) return at->at;
  return std::nullopt;
}

}  // namespace

std::optional<Time> lease_end(const State& state, Time now) {
  const bool leased =
      std::any_of(state.clients.begin(), state.clients.end(), [](const Client& c) { return c.lease_since != 0; });
  if (!leased || state.clients.size() < 2) return std::nullopt;
  State then = state;
  Decisions decisions;
  Time at = now;
  for (int i = 0; i < looks && at < now + horizon; ++i) {
    go_on(then, state, now, at);
    decide(then, at, decisions);
    if (ends(decisions)) return at;
    const auto next = wake(decisions);
    if (!next || *next <= at) return std::nullopt;
    at = *next;
  }
  return std::nullopt;
}

}  // namespace lull::policy
