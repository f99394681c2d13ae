// broker/policy_remember.cpp: what a decision leaves behind in the client it names.
#include <algorithm>

#include "broker/policy.h"

namespace lull::policy {
namespace {

void note_reason(Client& c, Reason reason, Time now) {
  if (c.reason != reason) c.reason_since = now;
  c.reason = reason;
}

void apply(Client& c, const SetGate& d, Time now) {
  note_reason(c, d.reason, now);
  if (c.gate.state == d.state) return;
  c.gate = {c.gate.generation + 1, d.state};
  c.gate_since = now;
}

void apply(Client& c, const SetQuota& d, Time now) {
  note_reason(c, d.reason, now);
  c.quota = d.quota;
  c.quota_high = std::max(c.quota_high, d.quota);
}

void apply(Client& c, const Arm& d, Time) { c.drain_limit_us = d.drain_limit_us; }

void apply(Client& c, const TakeLease& d, Time now) {
  c.lease_since = now;
  c.lease_reason = d.reason;
  c.gang_waited = 0;
}

void apply(Client& c, const EndLease& d, Time now) {
  const Time held = now - std::min(now, c.lease_since);
  c.turn_spent = d.reason == Reason::peer_turn ? 0 : c.turn_spent + held;
  if (c.lease_reason == Reason::exit_grace) c.exit_grace_spent += held;
  if (c.loading) c.loading_spent += held;
  c.lease_since = 0;
  c.lease_ended = now;
  c.lease_reason = d.reason == Reason::overdue ? Reason::overdue : Reason::none;
}

void apply(Client& c, const LetGo& d, Time) {
  c.overdue_until = d.until;
  ++c.overdue_count;
}

void apply(Client& c, const GiveNative& d, Time) {
  c.native_given = d.given;
  c.native_floor = d.floor;
}

void apply(Client& c, const RefuseNative& d, Time) { c.native_refused = d.wanted; }

void apply(Client& c, const TellGang& d, Time) { c.gang_said = d.word; }

void apply(Client& c, const Stuck& d, Time) { c.stuck = d.reason; }

void apply(Client&, const WakeAt&, Time) {}

}  // namespace

void note_busy(Client& c, const Rules& rules, Time now) {
  const Time last = std::max(c.last_submission, c.gate_since);
  if (c.busy_since == 0 || now - std::min(now, last) > rules.min_hold) c.busy_since = now;
}

void note_gang(Client& c, const GangNews& news, Time now) {
  c.gang_wants = news.wants;
  c.gang_behind = news.behind;
  if (news.waits == (c.gang_waits_since != 0)) return;
  if (!news.waits && c.lease_since != 0) c.gang_waited += now - std::max(c.lease_since, c.gang_waits_since);
  c.gang_waits_since = news.waits ? now : 0;
}

std::optional<ClientId> client_of(const Decision& decision) {
  return std::visit(
      [](const auto& d) -> std::optional<ClientId> {
        if constexpr (requires { d.client; })
          return d.client;
        else
          return std::nullopt;
      },
      decision);
}

void remember(Client& client, const Decision& decision, Time now) {
  std::visit([&](const auto& d) { apply(client, d, now); }, decision);
}

void remember(State& state, const Decisions& decisions, Time now) {
  for (const Decision& d : decisions) {
    const auto id = client_of(d);
    const auto named =
        std::find_if(state.clients.begin(), state.clients.end(), [id](const Client& c) { return c.id == id; });
    if (id && named != state.clients.end()) remember(*named, d, now);
  }
}

}  // namespace lull::policy
