// broker/broker_memory.cpp: the host's side of memory: budget, admission, arenas, and what the gauge says.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

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

Bytes lacking_on(const policy::State& state) {
  Bytes needs = 0;
  for (const auto& c : state.clients) needs += c.needed;
  return minus(needs, room_on(state));
}

// What has to find a place in host memory while the smallest has the card. What a user claims beyond its share has
// none.
Bytes at_most_evicted(const Arbiter& arbiter, Bytes share) {
  const auto [clients, seats] = arbiter.table();
  std::map<unsigned, Bytes> of_user;
  Bytes sum = 0, smallest = ~Bytes{0};
  for (std::size_t i = 0; i < clients.size(); ++i) {
    of_user[seats[i].who().uid] += clients[i].needed;
    smallest = std::min(smallest, clients[i].needed);
  }
  for (const auto& [uid, bytes] : of_user) sum += std::min(bytes, share);
  return minus(minus(sum, smallest), room_on(arbiter.state()));
}

}  // namespace

// What a user claims to have brought along, and cannot have been given, is not believed.
Bytes Broker::backing_held() const {
  std::map<unsigned, Bytes> held;
  reception_.for_each_process(
      [&](const Client& client) { held[client.who().uid] += client.backing() - client.lent.away_bytes(); });
  const Bytes share = user_share(config_, host_, held.size() <= 1);
  Bytes sum = 0;
  for (const auto& [uid, bytes] : held) sum += std::min(bytes, share);
  return sum;
}

Bytes Broker::share_of_each() const {
  std::set<unsigned> users;
  reception_.for_each_process([&](const Client& client) { users.insert(client.who().uid); });
  return user_share(config_, host_, users.size() <= 1);
}

Bytes Broker::budget() const { return host_budget(config_, host_, backing_held()); }

void Broker::set_admissions() {
  const Bytes all = budget() + spills_.room(), share = share_of_each() + spills_.room();
  for (auto& arbiter : arbiters_) {
    Bytes here = all;
    for (const auto& other : arbiters_)
      if (other != arbiter) here = minus(here, at_most_evicted(*other, share));
    const auto [clients, seats] = arbiter->table();
    const Bytes room = room_on(arbiter->state());
    UserNeeds evictable;
    Bytes all_needs = 0;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      all_needs += clients[i].needed;
      if (!clients[i].unevictable) evictable.add(seats[i].who().uid, clients[i].needed);
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
      const auto& c = clients[i];
      const auto counted = c.unevictable ? std::nullopt : std::optional(c.needed);
      const auto others = evictable.beside(seats[i].who().uid, counted, share);
      arbiter->set_admit(c.id, admit_limit(others, c.needed, {here, share, minus(room, all_needs - c.needed)}));
    }
  }
}

Backed Broker::backed(const Client& client, std::span<const Bytes> lacking) const {
  Backed b;
  b.id = client.who().id;
  b.uid = client.who().uid;
  b.backing = client.backing();
  b.away = client.lent.away_bytes();
  for (const auto& card : client.cards()) {
    if (!card || !client.connected()) continue;
    const auto& arbiter = *arbiters_[*card];
    const auto* c = arbiter.client(b.id);
    if (!c || c->unevictable) continue;
    b.needed += c->needed;
    b.evicted += minus(c->needed, c->resident);
    const bool all_leaves = c->order == policy::Order::release;
    b.deficit += all_leaves ? c->needed : std::min(c->needed, lacking[*card]);
    b.chunk = std::max(b.chunk, arbiter.state().gpu.chunk);
    b.starved = b.starved || (c->phase.phase == Phase::overdue && c->phase.reason == Overdue::no_backing);
  }
  return b;
}

// Who has gone from us and lives on keeps what it has.
std::vector<Claim> Broker::claims(Time now) {
  std::vector<Bytes> lacking;
  for (const auto& arbiter : arbiters_) lacking.push_back(lacking_on(arbiter->state()));
  std::vector<Claim> all;
  reception_.for_each_process([&](Client& client) {
    const auto b = backed(client, lacking);
    client.need = remember_need(client.need, b, now, config_.backing_linger);
    all.push_back(claim_of(b, client.need, unserved_ ? Pressure::severe : pressure_.level));
    if (!client.connected() || !client.welcomed()) return;
    client.down().backing_limit(all.back().limit);
    client.down().flush();
  });
  return all;
}

void Broker::plan_backing(Time now) {
  const auto all = claims(now);
  const Bytes most = budget(), ahead = budget_ahead(config_, host_, backing_held());
  const ArenaLimits limits{most, share_of_each(), ahead};
  if (spills_.on())
    spills_.tick(
        spill_need(all, limits), [this](const Client& c) { return needs_memory(c); }, now);
  if (arenas_.busy() || now < arenas_retry_) return;
  const auto growth = next_growth(all, limits);
  const auto* client = growth ? reception_.find(growth->id) : nullptr;
  if (!client) return;
  std::optional<unsigned> node;
  for (const auto& card : client->cards())
    if (card && !node) node = arbiters_[*card]->card().node;
  arenas_.make({growth->id, growth->bytes, node, config_.reserved_pages});
}

// What has to go to disk: for those who cannot leave the card for want of a place, and when the machine itself is
// short.
Bytes Broker::spill_need(std::span<const Claim> all, const ArenaLimits& limits) {
  const Bytes unserved = unserved_growth(all, limits), free = keep_free(config_, host_);
  unserved_ = unserved > 0;
  const bool severe = pressure_of(host_.available, free) == Pressure::severe;
  const Bytes need = std::max(unserved, severe ? minus(free, host_.available) : 0);
  spilling_ = need > 0;
  return need;
}

// Its memory comes back now: what is on disk of it is needed. Before that, while it only waits for the
// card, it is fetched ahead, but not while somebody lacks the very memory: two that change places could not do so.
bool Broker::needs_memory(const Client& client) const {
  for (const auto& card : client.cards()) {
    if (!card) continue;
    const auto* c = arbiters_[*card]->client(client.who().id);
    if (!c) continue;
    const bool comes = c->resident < c->needed && c->quota && *c->quota > c->resident;
    const bool may_come = c->order < policy::Order::pause;
    if (comes || (may_come && (c->wants || c->waiting > 0 || c->interrupted) && !spilling_)) return true;
  }
  return false;
}

void Broker::on_spill(Client& client, const Spill& spill) {
  spills_.on_step(client, spill, now_ns());
  take_out_garbage();
}

void Broker::on_spilled() {
  const Time now = now_ns();
  if (!spills_.on_results(now)) return;
  take_out_garbage();
  ask_gauge();
  plan_backing(now);
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
    std::vector<Garbage> unwanted;
    unwanted.push_back({std::move(made->fd), made->bytes});
    free_later(std::move(unwanted));
  } else {
    host_.available = minus(host_.available, made->bytes);  // until the gauge looks again
    client->lent.add(std::move(made->fd), made->bytes, arena_numbers_.next());
    client->send_arenas();
    tell_backing(*client);
    settle(*client, now);
  }
  plan_backing(now);
}

void Broker::on_returned(Client& client, const Returned& returned) {
  log::info("arena client={} bytes={} returned; it has {}", client.who().id, show_bytes(returned.bytes),
            show_bytes(client.backing()));
  tell_backing(client);
}

void Broker::tell_backing(const Client& client) {
  for (const auto& card : client.cards())
    if (card) arbiters_[*card]->set_backing(client.who().id, client.backing());
}

void Broker::free_later(std::vector<Garbage> garbage) {
  if (garbage.empty()) return;
  // Shared only because a task has to be copyable.
  chores_.add([kept = std::make_shared<std::vector<Garbage>>(std::move(garbage))] {
    for (const auto& each : *kept) free_memory(each);
    kept->clear();
  });
}

void Broker::take_out_garbage() {
  free_later(reception_.take_garbage());
  free_later(spills_.take_garbage());
  if (auto closed = reception_.take_closed(); !closed.empty())
    chores_.add([kept = std::make_shared<std::vector<Fd>>(std::move(closed))] { kept->clear(); });
}

void Broker::adjust_oom_scores() {
  std::vector<OomKeeper::Mapped> all;
  reception_.for_each_process([&](const Client& client) {
    if (client.backing() > 0) all.push_back({client.who().pid, client.backing()});
  });
  if (all.empty() && oom_.adjusted_count() == 0) return;
  chores_.add([this, all = std::move(all), machine = host_.total + host_.swap] { oom_.adjust(all, machine); });
}

void Broker::note_pressure(Time now) {
  const auto before = pressure_.level;
  const auto seen = pressure_of(host_.available, keep_free(config_, host_));
  pressure_ = remember_pressure(pressure_, seen, now, config_.backing_linger);
  if (pressure_.level == before) return;
  log::notice("host memory pressure={} available={}", name_of(pressure_.level), show_bytes(host_.available));
  events_.append(
      {{"event", "pressure"}, {"t_ns", now}, {"level", name_of(pressure_.level)}, {"available", host_.available}});
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
  gauge_seen_ = true;
  note_pressure(now_ns());
  adjust_oom_scores();
  for (std::size_t i = 0; i < arbiters_.size(); ++i)
    if (answer->used[i]) arbiters_[i]->set_used(*answer->used[i], answer->marks[i]);
}

}  // namespace lull
