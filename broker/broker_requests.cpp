// broker/broker_requests.cpp: requests, hints of requests, and who has the cards open: from the kernel programs and
// from people to the arbiters.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/log.h"
#include "broker/soon.h"
#include "broker/units.h"

namespace lull {

using policy::Time;

Requests::Sink Broker::request_sink(Time now) {
  const auto on_cards = [this](policy::ClientId id, auto&& f) {
    if (auto* client = reception_.find(id))
      for (const auto& card : client->cards())
        if (card) f(*arbiters_[*card]);
  };
  Requests::Sink sink;
  sink.arrived = [=, this](policy::ClientId id, Time at, const RequestKind* kind) {
    const auto* client = reception_.find(id);
    const KindId known = client && kind ? kinds_.id_of(client->tenant(), *kind) : 0;
    const Time seen = std::min(at, now);
    const bool moves = kinds_.arrived(known, seen);
    on_cards(id, [&](Arbiter& a) { a.arrived(id, seen, known, moves); });
  };
  sink.connects = [=](policy::ClientId id, Time at) {
    on_cards(id, [&](Arbiter& a) { a.connects(id, std::min(at, now)); });
  };
  sink.listens = [=](policy::ClientId id) { on_cards(id, [&](Arbiter& a) { a.loaded(id); }); };
  sink.counted = [=](policy::ClientId id, const Arrivals::Counters& c) {
    on_cards(id, [&](Arbiter& a) { a.requests(id, c.waiting, std::max(c.last_in_ns, c.last_out_ns)); });
  };
  sink.exits = [this](int pid) { reception_.exiting(pid); };
  sink.opens = [this](const DeviceOpen& open) { on_gpu_opened(open); };
  return sink;
}

void Broker::look_for_requests() {
  const Time now = now_ns();
  requests_.consume(request_sink(now));
  settle_all(now);
}

void Broker::watch_requests(Client& client) {
  std::string why_not;
  const auto& who = client.who();
  if (!requests_.watch(who.id, who.pid, config_.service(who.tenant), own_cgroup(who.pid), &why_not))
    log::warning("no early wake client={} pid={} why=\"{}\"", who.id, who.pid, why_not);
  if (!requests_.listens(who.id)) return;
  for (const auto& card : client.cards())  // it was here before this broker
    if (card) arbiters_[*card]->loaded(who.id);
}

// Its requests may come by other ports now. Those in flight are forgotten: the service's work on the card says the
// rest.
void Broker::follow_service(Client& client, const ServiceConfig& before) {
  const auto& who = client.who();
  if (who.klass == Class::training) return;
  const auto& now = config_.service(who.tenant);
  if (before.ports == now.ports && before.wake_on == now.wake_on) return requests_.set_filter(who.id, now);
  requests_.forget(who.id);
  watch_requests(client);
}

void Broker::learn() {
  reception_.for_each([this](Client& client) {
    for (const auto& card : client.cards()) {
      if (!card) continue;
      for (const auto& outcome : arbiters_[*card]->take_outcomes(client.who().id))
        kinds_.outcome(outcome.kind, outcome.arrived, outcome.led_to_work);
    }
  });
}

// ---- hints by people and programs

void Broker::wake(Client& client, Time now, Time lasts) {
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->wake(client.who().id, now, now + std::min(lasts, longest_wake));
}

nlohmann::json Broker::wake(const std::string& whom, Time lasts) {
  const Time now = now_ns();
  unsigned woken = 0;
  reception_.for_each([&](Client& client) {
    const auto& who = client.who();
    if (who.klass == Class::training || (who.tenant != whom && std::to_string(who.pid) != whom)) return;
    wake(client, now, lasts);
    ++woken;
  });
  settle_all(now);
  return {{"woken", woken}, {"for_ns", std::min(lasts, longest_wake)}};
}

void Broker::on_soon(const ClassSocket& socket) {
  const Time now = now_ns();
  int pid = 0;
  const auto word = receive_soon(socket.listener.get(), &pid);
  if (!word) return;
  const auto own = word->tenant.empty() && pid > 0 ? container_or_unit_of(pid) : std::nullopt;
  reception_.for_each([&](Client& client) {
    const auto& who = client.who();
    if (who.klass != socket.klass) return;  // who reaches this class speaks for it alone
    const bool meant =
        word->tenant.empty() ? who.pid == pid || (own && who.tenant == *own) : who.tenant == word->tenant;
    if (meant) wake(client, now, word->lasts);
  });
  settle_all(now);
}

// ---- who has the cards open

void Broker::watch_gpus() {
  std::ifstream file("/proc/devices");
  const auto devices = gpu_devices(std::string{std::istreambuf_iterator<char>(file), {}});
  if (!devices.empty()) (void)requests_.watch_devices(devices);  // else its own note has said what is missing
}

void Broker::on_gpu_opened(const DeviceOpen& open) {
  const auto* holder = watch_.opened(open);
  if (holder == nullptr || holder->client) return;
  log::info("gpu opened pid={} comm=\"{}\" tenant=\"{}\" shim={} before={}", holder->pid, holder->comm, holder->tenant,
            holder->shim, holder->since == 0);
  events_.append({{"event", "gpu_opened"},
                  {"t_ns", now_ns()},
                  {"pid", holder->pid},
                  {"comm", holder->comm},
                  {"tenant", holder->tenant},
                  {"shim", holder->shim}});
}

void Broker::look_at_holders() {
  watch_.forget_dead([this](const Holder& holder) {
    if (!holder.client) events_.append({{"event", "gpu_closed"}, {"t_ns", now_ns()}, {"pid", holder.pid}});
  });
}

// ---- what of this is shown

nlohmann::json Broker::status_of_requests() const {
  nlohmann::json services = nlohmann::json::array(), kinds = nlohmann::json::array();
  reception_.for_each_process([&](const Client& client) {
    const auto& who = client.who();
    if (!requests_.on() || !client.connected() || who.klass == Class::training) return;
    const auto c = requests_.counters(who.id);
    services.push_back({{"client", who.id},
                        {"tenant", who.tenant},
                        {"pid", who.pid},
                        {"ports", requests_.ports(who.id)},
                        {"waiting", c.waiting},
                        {"arrivals", c.arrivals},
                        {"completions", c.completions},
                        {"ignored", c.ignored}});
  });
  for (const auto& row : kinds_.rows())
    kinds.push_back({{"tenant", row.tenant},
                     {"kind", row.kind},
                     {"proven", row.proven},
                     {"worked", row.worked},
                     {"idle", row.idle}});
  return {{"services", services}, {"kinds", kinds}};
}

nlohmann::json Broker::status_of_holders() const {
  nlohmann::json all = nlohmann::json::array();
  for (const auto& [pid, holder] : watch_.holders())
    all.push_back({{"pid", pid},
                   {"comm", holder.comm},
                   {"tenant", holder.tenant},
                   {"client", holder.client},
                   {"shim", holder.shim}});
  return all;
}

}  // namespace lull
