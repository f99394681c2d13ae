// broker/broker_orders.cpp: lull pause, resume, release and hold: whose processes are meant, and who may say so.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"

namespace lull {
namespace {

using nlohmann::json;
using policy::Order;
using policy::Time;

constexpr Time longest_pause = 7 * 86400 * policy::second;

bool in_effect(const OwnersWord& word, Time now) { return word.order != Order::none && word.until > now; }

// What "no longer" ends: a pause does not end with the end of a hold, nor the reverse.
bool ends(Order present, bool hold) { return present != Order::none && (present == Order::hold) == hold; }

}  // namespace

// The process of that number, or else those that are called so; and whom these run together with.
std::vector<Client*> Broker::clients_meant(const std::string& whom, bool* tenant) {
  std::vector<Client*> all, called;
  reception_.for_each([&](Client& client) {
    if (std::to_string(client.who().pid) == whom) all.push_back(&client);
    if (client.who().tenant == whom) called.push_back(&client);
  });
  *tenant = all.empty();
  if (all.empty()) all = std::move(called);
  const auto named = all;
  reception_.for_each([&](Client& client) {
    const auto together = [&](const Client* other) {
      return client.gang.number != 0 && other->gang.number == client.gang.number;
    };
    if (std::count(all.begin(), all.end(), &client) == 0 && std::any_of(named.begin(), named.end(), together))
      all.push_back(&client);
  });
  return all;
}

void Broker::obey(Client& client, const OwnersWord& word) {
  client.order = word;
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->set_order(client.who().id, word.order, word.until);
}

// One that comes later is told what its tenant, or its gang, has been told.
void Broker::adopt_order(Client& client, Time now) {
  reception_.for_each([&](const Client& other) {
    const bool same_gang = client.gang.number != 0 && other.gang.number == client.gang.number;
    const bool same = same_gang || (other.order.of_tenant && other.tenant() == client.tenant());
    if (&other != &client && same && in_effect(other.order, now)) client.order = other.order;
  });
}

void Broker::note_order(const Client& client, const OwnersWord& word, Time now, unsigned uid) {
  const auto& who = client.who();
  const json lasts = word.until == policy::never ? json(nullptr) : json(word.until - now);
  log::info("{} client={} pid={} tenant=\"{}\" for={} uid={}", name_of(word.order), who.id, who.pid, who.tenant,
            lasts.is_null() ? "ever" : show_time(word.until - now), uid);
  events_.append({{"event", "order"},
                  {"t_ns", now},
                  {"client", json_of(who)},
                  {"order", name_of(word.order)},
                  {"lasts_ns", lasts},
                  {"uid", uid}});
}

json Broker::order(const json& request, unsigned uid, const OrderCommand& command) {
  const Time now = now_ns();
  const auto whom = request.find("whom"), lasts = request.find("for_ns");
  if (whom == request.end() || !whom->is_string()) return problem("whom is missing: a tenant, or a process");
  const bool timed = lasts != request.end() && !lasts->is_null();
  const Time most = command.order == Order::hold ? config_.longest_hold : longest_pause;
  if (timed && (!lasts->is_number_unsigned() || *lasts == 0 || *lasts > most))
    return problem(fmt::format("for how long? at most {}{}", show_time(most),
                               command.order == Order::hold ? " (limits.hold)" : ""));
  if (command.order == Order::hold && !timed) return problem("a hold needs for_ns");
  OwnersWord word{command.order, timed ? now + lasts->get<Time>() : policy::never, false};
  const auto meant = clients_meant(whom->get<std::string>(), &word.of_tenant);
  json pids = json::array();
  for (Client* client : meant) {
    if (uid != 0 && client->who().uid != uid) continue;
    pids.push_back(client->who().pid);
    if (word.order == Order::none && !ends(client->order.order, command.ends_hold)) continue;
    obey(*client, word);
    note_order(*client, word, now, uid);
  }
  if (pids.empty() && !meant.empty())
    return problem(fmt::format("only root and uid {} may say so of \"{}\"", meant.front()->who().uid,
                               meant.front()->who().tenant));
  settle_all(now);
  return {{"order", name_of(word.order)}, {"pids", pids}, {"for_ns", timed ? *lasts : json(nullptr)}};
}

void Broker::on_order_over(const Card& card, const Who& who, Order order) {
  if (auto* client = reception_.find(who.id)) client->order = {};
  log::info("{} client={} pid={} tenant=\"{}\" is over", name_of(order), who.id, who.pid, who.tenant);
  events_.append({{"event", "order_over"},
                  {"t_ns", now_ns()},
                  {"gpu", show_uuid(card.uuid)},
                  {"client", json_of(who)},
                  {"order", name_of(order)}});
}

}  // namespace lull
