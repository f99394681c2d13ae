// broker/broker_gangs.cpp: who belongs together, and what the parts of a gang on several cards tell one another.
#include <algorithm>

#include "broker/broker.h"
#include "broker/gangs.h"

namespace lull {
namespace {

constexpr int most_rounds = 8;  // what one card answers may change another's answer; the next event goes on

}  // namespace

// One that has been named is one gang for each user; others are told apart by who started them.
Gang Broker::gang_of(const Client& client) {
  const bool named = std::count(config_.gangs.begin(), config_.gangs.end(), client.who().tenant) != 0;
  if (!named && (client.hello().flags & hello_gang) == 0) return {};
  const int parent = named ? 0 : parent_of(client.who().pid).value_or(0);
  std::uint32_t number = 0;
  reception_.for_each([&](const Client& other) {
    const bool same = other.gang.number != 0 && other.gang.parent == parent && other.tenant() == client.tenant();
    if (same) number = other.gang.number;
  });
  return {number != 0 ? number : ++last_gang_, parent};
}

// By the place of its first service in the configuration, from 1.
std::uint32_t Broker::pipeline_of(const Client& client) const {
  const auto& name = config_.service(client.who().tenant).pipeline;
  if (name.empty()) return 0;
  const auto first = std::find_if(config_.services.begin(), config_.services.end(),
                                  [&](const ServiceConfig& service) { return service.pipeline == name; });
  return static_cast<std::uint32_t>(first - config_.services.begin()) + 1;
}

void Broker::regroup(Client& client) {
  client.gang = gang_of(client);  // one that stays finds itself
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->regroup(client.who().id, client.gang.number, pipeline_of(client));
}

void Broker::coordinate_gangs(policy::Time now) {
  if (last_gang_ == 0) return;
  for (int round = 0; round < most_rounds; ++round) {
    std::vector<GangPart> parts;
    for (std::size_t card = 0; card < arbiters_.size(); ++card)
      for (const auto& c : arbiters_[card]->state().clients)
        if (c.gang != 0) parts.push_back({c.gang, card, c.id, c.gang_said, {}});
    coordinate(parts);
    for (const auto& part : parts) arbiters_[part.card]->hear(part.client, part.news, now);
    const bool changed = std::any_of(arbiters_.begin(), arbiters_.end(), [](const auto& a) { return a->changed(); });
    if (!changed) return;
    for (auto& arbiter : arbiters_) arbiter->step_if_due(now);
  }
}

}  // namespace lull
