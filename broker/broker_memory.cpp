// broker/broker_memory.cpp: the host's side of memory: budget, admission, arenas, and what the gauge says.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/broker.h"
#include "broker/clock.h"
#include "broker/log.h"
#include "broker/units.h"

namespace lull {
namespace {

using policy::Bytes;
using policy::Time;

constexpr Time retry_after_failure = 5 * policy::second;
Bytes minus(Bytes a, Bytes b) { return a > b ? a - b : 0; }

Bytes native_of(const policy::Client& c, const policy::Gpu& gpu) { return std::max(c.native, gpu.native_reserve); }

// What is left on a card for programs' memory when everybody's contexts are there.
Bytes room_on(const policy::State& state) {
  Bytes room = minus(state.gpu.capacity, state.gpu.headroom + state.gpu.foreign);
  for (const auto& c : state.clients) room = minus(room, native_of(c, state.gpu));
  return room;
}

// What has to find a place in host memory while the smallest has the card.
Bytes at_most_evicted(const policy::State& state) {
  Bytes sum = 0, smallest = ~Bytes{0};
  for (const auto& c : state.clients) {
    sum += c.needed;
    smallest = std::min(smallest, c.needed);
  }
  return state.clients.empty() ? 0 : minus(sum - smallest, room_on(state));
}

}  // namespace

Bytes Broker::backing_held() const {
  Bytes held = 0;
  reception_.for_each_process([&](const Client& client) { held += client.backing(); });
  return held;
}

Bytes Broker::budget() const { return host_budget(config_, host_, backing_held()); }

void Broker::set_admissions() {
  const Bytes all = budget();
  for (auto& arbiter : arbiters_) {
    Bytes here = all;
    for (const auto& other : arbiters_)
      if (other != arbiter) here = minus(here, at_most_evicted(other->state()));
    const auto& clients = arbiter->state().clients;
    const Bytes room = room_on(arbiter->state());
    std::vector<Bytes> others;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      others.clear();
      Bytes beside = 0;
      for (std::size_t j = 0; j < clients.size(); ++j) {
        if (j == i) continue;
        beside += clients[j].needed;
        if (!clients[j].unevictable) others.push_back(clients[j].needed);
      }
      arbiter->set_admit(clients[i].id, admit_limit(others, clients[i].needed, here, minus(room, beside)));
    }
  }
}

void Broker::grow_arenas(Time now) {
  if (arenas_.busy() || now < arenas_retry_) return;
  std::vector<Backed> all;
  reception_.for_each_process([&](const Client& client) {
    Backed b{client.who().id, client.who().uid, 0, client.backing(), 0, 0, false};
    for (const auto& card : client.cards()) {
      if (!card || !client.connected()) continue;
      const auto& state = arbiters_[*card]->state();
      const auto c =
          std::find_if(state.clients.begin(), state.clients.end(), [&](const auto& s) { return s.id == b.id; });
      if (c == state.clients.end() || c->unevictable) continue;
      Bytes needs = 0;
      for (const auto& each : state.clients) needs += each.needed;
      b.needed += c->needed;
      b.deficit += std::min(c->needed, minus(needs, room_on(state)));
      b.chunk = std::max(b.chunk, state.gpu.chunk);
      b.starved = b.starved || (c->phase.phase == Phase::overdue && c->phase.reason == Overdue::no_backing);
    }
    all.push_back(b);
  });
  const Bytes most = budget();
  if (const auto growth = next_growth(all, {most, config_.host_memory_per_uid.value_or(most)})) arenas_.make(*growth);
}

void Broker::on_arena() {
  auto made = arenas_.take();
  if (!made) return;
  const Time now = now_ns();
  auto* client = reception_.find(made->id);
  if (!made->fd) {
    arenas_retry_ = now + retry_after_failure;
    log::warning("arena client={} bytes={} why=\"the memory could not be had; tried again in {}\"", made->id,
                 show_bytes(made->bytes), show_time(retry_after_failure));
  } else if (!client) {
    arenas_.dispose(std::move(made->fd));
  } else {
    host_.available = minus(host_.available, made->bytes);  // until the gauge looks again
    client->give_arena(std::move(made->fd), made->bytes);
    for (auto& fd : client->send_arenas()) arenas_.dispose(std::move(fd));
    for (const auto& card : client->cards())
      if (card) arbiters_[*card]->set_backing(client->who().id, client->backing());
    settle(*client, now);
  }
  grow_arenas(now);
}

void Broker::ask_gauge() {
  std::vector<std::optional<Bytes>> marks;
  for (const auto& arbiter : arbiters_) marks.push_back(arbiter->quiet_mark());
  gauge_.ask(std::move(marks));
}

void Broker::on_gauge() {
  const auto answer = gauge_.take();
  if (!answer) return;
  host_ = answer->host;
  for (std::size_t i = 0; i < arbiters_.size(); ++i)
    if (answer->used[i]) arbiters_[i]->set_used(*answer->used[i], answer->marks[i]);
}

}  // namespace lull
