// broker/broker_events.cpp: what the arbiters report, for the journal, the event log and the hook.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"

namespace lull {
namespace {

using policy::Time;

}  // namespace

void Broker::on_refused(const Card& card, const Seat& seat) {
  const auto& who = seat.who();
  const auto why =
      fmt::format("out of memory: no host memory to evict it to; raise host_memory (now {}), or end a program",
                  show_bytes(budget()));
  log::warning("refused client={} pid={} tenant=\"{}\" bytes={} why=\"{}\"", who.id, who.pid, who.tenant,
               show_bytes(seat.up().refused), why);
  events_.append({{"event", "refused"},
                  {"t_ns", now_ns()},
                  {"gpu", show_uuid(card.uuid)},
                  {"client", json_of(who)},
                  {"bytes", seat.up().refused},
                  {"why", why}});
}

void Broker::on_switch(const Card& card, const Switch& s) {
  const auto span = [](Time from, Time to) { return from && to > from ? show_time(to - from) : std::string("-"); };
  nlohmann::json event = {{"event", "switch"}, {"t_ns", now_ns()}, {"gpu", show_uuid(card.uuid)}};
  event.update(json_of(s));
  events_.append(event);
  if (s.from.empty()) return;  // nobody had to go: no news for the journal
  std::string from;
  for (const auto& who : s.from) from += fmt::format("{}{}(pid {})", from.empty() ? "" : ",", who.tenant, who.pid);
  log::info(
      "switch id={} gpu={} from={} to={}(pid {}) reason={} close={} drain={} evict={}/{} restore={}/{} first_kernel={}",
      s.id, show_uuid(card.uuid), from.empty() ? "-" : from, s.to.tenant, s.to.pid, name_of(s.reason),
      span(s.seen, s.closed), span(s.closed, s.drained), show_bytes(s.evicted_bytes), span(s.drained, s.evicted),
      show_bytes(s.restored_bytes), span(s.closed, s.restored), span(s.seen, s.first_kernel));
}

void Broker::on_lease_end(const Card& card, const Switch& s) {
  events_.append({{"event", "lease_end"},
                  {"t_ns", s.ended},
                  {"gpu", show_uuid(card.uuid)},
                  {"id", s.id},
                  {"client", json_of(s.to)}});
}

// "Xorg (pid 4711)": the largest program without Lull on the card, where that is what a client waits for.
std::string Broker::blocker(const Card& card, Reason reason) const {
  if (reason != Reason::blocked_by_foreign) return {};
  for (const auto& arbiter : arbiters_)
    if (arbiter->card().uuid == card.uuid && !arbiter->strangers().empty()) {
      const auto& stranger = arbiter->strangers().front();
      return fmt::format("{} (pid {})", stranger.command, stranger.pid);
    }
  return {};
}

void Broker::on_stuck(const Card& card, const Who& who, Reason reason) {
  const bool over = reason == Reason::none;
  const auto blocked_by = blocker(card, reason);
  if (over)
    log::notice("unstuck client={} pid={} tenant=\"{}\"", who.id, who.pid, who.tenant);
  else
    log::warning("stuck client={} pid={} tenant=\"{}\" reason={} why=\"{}\"{}", who.id, who.pid, who.tenant,
                 name_of(reason), sentence_of(reason), blocked_by.empty() ? "" : " by=\"" + blocked_by + "\"");
  nlohmann::json event = {{"event", over ? "unstuck" : "stuck"}, {"t_ns", now_ns()},
                          {"gpu", show_uuid(card.uuid)},         {"client", json_of(who)},
                          {"reason", name_of(reason)},           {"why", sentence_of(reason)}};
  event["blocked_by"] = blocked_by.empty() ? nlohmann::json() : nlohmann::json(blocked_by);
  events_.append(event);
  tell_hook(card, who, reason, blocked_by);
}

void Broker::tell_hook(const Card& card, const Who& who, Reason state, const std::string& blocked_by) {
  const bool over = state == Reason::none;
  (void)hook_.run({{"LULL_EVENT", over ? "unstuck" : "stuck"},
                   {"LULL_STATE", name_of(state)},
                   {"LULL_WHY", over ? "it has ended" : sentence_of(state)},
                   {"LULL_BLOCKED_BY", blocked_by},
                   {"LULL_GPU", show_uuid(card.uuid)},
                   {"LULL_TENANT", who.tenant},
                   {"LULL_CLASS", name_of(who.klass)},
                   {"LULL_PID", std::to_string(who.pid)},
                   {"LULL_UID", std::to_string(who.uid)}});  // what it drops, it counts
}

void Broker::on_wish_over(const Card& card, const Wish& wish) {
  log::info("free gpu={} bytes={} is over", show_uuid(card.uuid), show_bytes(wish.bytes));
  events_.append({{"event", "free_over"}, {"t_ns", now_ns()}, {"gpu", show_uuid(card.uuid)}, {"bytes", wish.bytes}});
}

void Broker::on_overdue(const Card& card, const Who& who, Overdue why) {
  log::warning("overdue client={} pid={} tenant=\"{}\" why={}", who.id, who.pid, who.tenant, name_of(why));
  events_.append({{"event", "overdue"},
                  {"t_ns", now_ns()},
                  {"gpu", show_uuid(card.uuid)},
                  {"client", json_of(who)},
                  {"why", name_of(why)}});
}

}  // namespace lull
