// broker/broker_status.cpp: what `lull status` shows, as one JSON object ("schema": 1; keys are only ever added).
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/orders.h"
#include "broker/policy_outlook.h"

namespace lull {
namespace {

using nlohmann::json;
using policy::Time;

json since(Time t, Time now) { return t && t <= now ? json(now - t) : json(nullptr); }

const char* state_of(const policy::Client& c) {
  if (c.reason == Reason::owner_pause) return "halted";
  if (c.reason == Reason::owner_release) return c.resident == 0 ? "released" : "releasing";
  if (c.loading) return "loading";
  if (c.gate.state == GateState::unmanaged) return "unmanaged";
  if (c.gate.state == GateState::closed) return c.resident < c.needed ? "evicted" : "paused";
  if (c.resident < c.needed) return "restoring";
  return "running";
}

json json_of_client(const policy::Client& c, const Seat& seat, Time now) {
  json out = json_of(seat.who());
  out.update({{"state", state_of(c)},
              {"gate", name_of(c.gate.state)},
              {"gate_ns", since(c.gate_since, now)},
              {"phase", name_of(c.phase.phase)},
              {"overdue", name_of(c.phase.reason)},
              {"reason", name_of(c.reason)},
              {"sentence", sentence_of(c.reason)},
              {"reason_ns", since(c.reason_since, now)},
              {"order", c.order == policy::Order::none ? json(nullptr) : json(name_of(c.order))},
              {"order_left_ns", c.order != policy::Order::none && c.order_until != policy::never
                                    ? json(c.order_until - std::min(now, c.order_until))
                                    : json(nullptr)},
              {"stuck", c.stuck == Reason::none ? json(nullptr) : json(name_of(c.stuck))},
              {"needed", c.needed},
              {"resident", c.resident},
              {"native", c.native},
              {"evicted", c.needed > c.resident ? c.needed - c.resident : 0},
              {"quota", c.quota ? json(*c.quota) : json(nullptr)},
              {"admit", seat.admit() ? json(*seat.admit()) : json(nullptr)},
              {"backing", c.backing},
              {"waiting", c.waiting},
              {"wants", c.wants},
              {"wants_ns", c.wants ? since(c.wants_since, now) : json(nullptr)},
              {"interrupted", c.interrupted},
              {"loading", c.loading},
              {"proven", c.proven},
              {"gang", c.gang ? json(c.gang) : json(nullptr)},
              {"pipeline", c.pipeline ? json(c.pipeline) : json(nullptr)},
              {"paused_ns", seat.paused_ns(c, now)},
              {"connected_ns", since(c.connected, now)},
              {"last_submission_ns", since(c.last_submission, now)},
              {"evicted_bytes", seat.evicted()},
              {"restored_bytes", seat.restored()}});
  return out;
}

json json_of(const Spills::Report& r) {
  if (r.path.empty()) return nullptr;
  return {{"path", r.path},
          {"on", r.on},
          {"error", r.error.empty() ? json(nullptr) : json(r.error)},
          {"direct", r.direct},
          {"capacity", r.capacity},
          {"stored", r.stored},
          {"away", r.away},
          {"written_today", r.written_today},
          {"daily_write_bytes", r.daily},
          {"saves", r.saves},
          {"fills", r.fills},
          {"failures", r.failures},
          {"lost", r.lost}};
}

json json_of(const TimeUse& use) {
  json ran = json::object();
  for (const auto klass : {Class::training, Class::interactive, Class::inference}) ran[name_of(klass)] = use.ran(klass);
  return {{"ran_ns", ran}, {"recovered_ns", use.recovered()}};
}

json json_of(const Stranger& s) {
  return {{"pid", s.pid}, {"command", s.command}, {"used", s.used ? json(*s.used) : json(nullptr)}};
}

// Who holds up a client that waits because of other programs: the largest of them that has a name.
json blocker_of(const policy::Client& c, const Arbiter& arbiter) {
  if (c.reason != Reason::blocked_by_foreign || arbiter.strangers().empty()) return nullptr;
  return json_of(arbiter.strangers().front());
}

json json_of(const Wish& wish, Time now) {
  return {{"bytes", wish.bytes},
          {"uid", wish.uid},
          {"since_ns", since(wish.since, now)},
          {"left_ns", wish.until - std::min(wish.until, now)}};
}

json lease_of(const Arbiter& arbiter, Time now) {
  const auto table = arbiter.table();
  for (std::size_t i = 0; i < table.clients.size(); ++i) {
    const auto& c = table.clients[i];
    if (c.lease_since == 0) continue;
    json out = json_of(table.seats[i].who());
    const auto end = policy::lease_end(arbiter.state(), now);
    out.update({{"since_ns", since(c.lease_since, now)},
                {"left_ns", end ? json(*end - now) : json(nullptr)},
                {"reason", name_of(c.lease_reason)},
                {"sentence", sentence_of(c.lease_reason)}});
    return out;
  }
  return nullptr;
}

json by_class(const std::function<Time(Class)>& time) {
  json out = json::object();
  for (const auto klass : all_classes) out[name_of(klass)] = time(klass);
  return out;
}

}  // namespace

json Broker::status_of(const Arbiter& arbiter, std::size_t number) const {
  const Time now = now_ns();
  const auto& card = arbiter.card();
  const auto& gpu = arbiter.state().gpu;
  json clients = json::array();
  const auto table = arbiter.table();
  for (std::size_t i = 0; i < table.clients.size(); ++i) {
    clients.push_back(json_of_client(table.clients[i], table.seats[i], now));
    clients.back()["blocked_by"] = blocker_of(table.clients[i], arbiter);
  }
  json strangers = json::array();
  for (const auto& stranger : arbiter.strangers()) strangers.push_back(json_of(stranger));
  const auto* last = arbiter.switches().last();
  const auto& record = arbiter.switches().record();
  return {
      {"gpu", number},
      {"uuid", show_uuid(card.uuid)},
      {"memory", gpu.capacity},
      {"total", card.total()},
      {"foreign", gpu.foreign},
      {"strangers", strangers},
      {"kept_free", gpu.kept_free},
      {"thrashing", arbiter.thrashing()},
      {"wish", arbiter.wish() ? json_of(*arbiter.wish(), now) : json(nullptr)},
      {"free", policy::free_now(arbiter.state())},
      {"headroom", gpu.headroom},
      {"native_reserve", gpu.native_reserve},
      {"chunk", gpu.chunk},
      {"round_trip_ns", gpu.round_trip ? json(gpu.round_trip) : json(nullptr)},
      {"speed", arbiter.speed() ? json_of(*arbiter.speed()) : json(nullptr)},
      {"measured", measuring_[number].state},
      {"prediction", {{"switches", record.switches}, {"predicted_ns", record.predicted}, {"moved_ns", record.moved}}},
      {"lease", lease_of(arbiter, now)},
      {"time", json_of(arbiter.time_use())},
      {"switches", arbiter.switches().count()},
      {"preemptions", arbiter.switches().preemptions()},
      {"evicted_bytes", arbiter.evicted_total()},
      {"restored_bytes", arbiter.restored_total()},
      {"switch_times", json_of(arbiter.switches().phases())},
      {"held_ns", by_class([&](Class klass) { return arbiter.switches().held(klass, now); })},
      {"paused_ns", by_class([&](Class klass) { return arbiter.paused_total(klass, now); })},
      {"last_switch", last ? json_of(*last) : json(nullptr)},
      {"clients", clients}};
}

json Broker::status() const {
  json gpus = json::array();
  for (std::size_t i = 0; i < arbiters_.size(); ++i) gpus.push_back(status_of(*arbiters_[i], i));
  return {
      {"schema", 1},
      {"version", LULL_VERSION},
      {"pid", ::getpid()},
      {"runtime_dir", run_.path},
      {"now_ns", now_ns()},
      {"uptime_ns", now_ns() - started_},
      {"early_wake", requests_.on()},
      {"notes", request_notes_},
      {"rights", rights_},
      {"host",
       {{"budget", budget()},
        {"held", backing_held()},
        {"available", host_.available},
        {"keep_free", keep_free(config_, host_)},
        {"pressure", name_of(pressure_.level)},
        {"spill", json_of(spills_.report())},
        {"oom_scores_adjusted", oom_.adjusted_count()},
        {"oom_scores_error", oom_.error() ? nlohmann::json(std::strerror(oom_.error())) : nlohmann::json(nullptr)}}},
      {"requests", status_of_requests()},
      {"gpu_holders", status_of_holders()},
      {"dropped", reception_.dropped()},
      {"event_counts", events_.counts()},
      {"gpus", gpus}};
}

}  // namespace lull
