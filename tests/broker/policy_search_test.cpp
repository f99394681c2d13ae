// Random search against the invariants: many small worlds in which programs come, go, allocate, stop, are signalled and
// cannot drain, with requests of both kinds and foreign memory. Every answer of decide() is checked; afterwards the
// world becomes quiet, and everybody who waits must get to run. A failure names its seed: LULL_SEED=n runs and prints
// that world alone, LULL_WORLDS=n runs so many of them.
#include <cstdlib>
#include <random>

#include "tests/broker/cards.h"
#include "tests/broker/counted_new.h"

namespace lull::policy {
namespace {

// What must hold for one answer, decision by decision. `state` is as it was asked; returned is the first breach.
class Check {
 public:
  Check(const State& state, Time now) : state_(state), now_(now) {}

  std::string breach(const Decisions& decisions) {
    for (const Decision& d : decisions) {
      const auto id = client_of(d);
      const Client* c = id ? find(*id) : nullptr;
      if (id && !c) return "names a client that does not exist";
      const Bytes before = c ? charge(*c, state_.gpu) : 0;
      if (const auto* quota = std::get_if<SetQuota>(&d); quota && !may_have(*c, quota->quota))
        return "lowers the quota of a client that has not drained";
      if (const auto* gate = std::get_if<SetGate>(&d); gate && gate->reason == Reason::none) return "gives no reason";
      if (c) remember(*const_cast<Client*>(c), d, now_);
      if (c && charge(*c, state_.gpu) > before && fills(*c) && fillers() > 1) return "fills two clients";
      if (c && charge(*c, state_.gpu) > before && sum() > state_.gpu.capacity) return "promises more than the card has";
    }
    return after();
  }

 private:
  const Client* find(ClientId id) const {
    const auto is = [id](const Client& c) { return c.id == id; };
    const auto found = std::find_if(state_.clients.begin(), state_.clients.end(), is);
    return found == state_.clients.end() ? nullptr : &*found;
  }

  static bool may_have(const Client& c, Bytes quota) {
    const bool lowers = quota < c.resident && (!c.quota || quota < *c.quota);
    return !lowers ||
           (c.gate.state == GateState::closed && c.seen_gate == c.gate && c.phase.generation == c.gate.generation &&
            c.phase.phase >= Phase::drained && c.phase.phase <= Phase::ready);
  }

  Bytes sum() const {
    Bytes sum = state_.gpu.foreign + state_.gpu.headroom;
    for (const Client& c : state_.clients) sum += charge(c, state_.gpu);
    return sum;
  }

  bool fills(const Client& c) const {
    const Bytes slack = std::max(state_.rules.growth_headroom, state_.gpu.chunk);
    return c.needed > c.resident && c.quota_high > c.resident + slack;
  }

  std::ptrdiff_t fillers() const {
    return std::count_if(state_.clients.begin(), state_.clients.end(), [this](const Client& c) { return fills(c); });
  }

  std::string after() const {
    unsigned leases = 0;
    for (const Client& c : state_.clients) {
      leases += c.lease_since != 0;
      if (c.gate.state == GateState::unmanaged) return "leaves a client unmanaged";
      if (c.reason == Reason::none) return "leaves a client without a reason";
      if (c.gate.state == GateState::open && *c.quota < c.resident && c.overdue_until <= now_)
        return "runs a client that is to be evicted";
    }
    if (leases > 1) return "gives the lease twice";
    return sharing() + belonging() + obeying();
  }

  // Who is paused by its owner runs only for a signal, or because its work does not end.
  std::string obeying() const {
    for (const Client& c : state_.clients) {
      const bool paused = c.order >= Order::pause && c.order_until > now_;
      if (paused && c.gate.state == GateState::open && !c.interrupted && c.overdue_until <= now_ && c.gang == 0)
        return "runs a client that its owner has paused";
    }
    return "";
  }

  // A gang runs together or not at all, but for those who were let go.
  std::string belonging() const {
    for (const Client& a : state_.clients)
      for (const Client& b : state_.clients) {
        if (a.gang == 0 || a.gang != b.gang || a.overdue_until > now_ || b.overdue_until > now_) continue;
        if (a.gate.state != b.gate.state) return "runs a part of a gang";
        if (a.gate.state == GateState::open && a.gang_waits_since != 0) return "runs a gang without its other card";
      }
    return "";
  }

  // Open together only if they fit together (beside those who were let go).
  std::string sharing() const {
    Bytes room = state_.gpu.capacity - std::min(state_.gpu.capacity, state_.gpu.foreign + state_.gpu.headroom),
          goals = 0;
    unsigned open = 0;
    for (const Client& c : state_.clients) {
      room -= std::min(room, native_charge(c, state_.gpu));
      if (c.gate.state != GateState::open || c.overdue_until > now_ || std::max(c.needed, c.resident) == 0) continue;
      goals += std::max(c.needed, c.resident);
      const auto counted = [&](const Client& o) {
        return &o < &c && o.gang == c.gang && o.gate.state == GateState::open;
      };
      open += c.gang == 0 || std::none_of(state_.clients.begin(), state_.clients.end(), counted);  // a gang is one
    }
    return open > 1 && goals > room ? "shares a card that is too small" : "";
  }

  State state_;
  Time now_;
};

class Chaos {
 public:
  Chaos(std::uint64_t seed, bool trace) : random_(seed), trace_(trace) {
    w_.state.gpu = {.capacity = 80 * G,
                    .native_reserve = any(0, 2) * (G / 2),
                    .headroom = any(0, 2) * G,
                    .chunk = (2ull << 20) << any(0, 6),
                    .round_trip = any(0, 100) * ms};
    Rules& r = w_.state.rules;
    r.linger_min = any(1, 20) * ms;
    r.linger_max = r.linger_min + any(0, 50) * ms;
    if (one_in(4)) r.keep_alive = any(0, 50) * ms;
    r.unproven_close = any(1, 5) * ms;
    r.min_hold = any(1, 30) * ms;
    r.quantum = any(50, 300) * ms;
    r.loading_max = any(20, 200) * ms;
    r.loading_linger = any(2, 20) * ms;
    r.yield_idle = any(1, 10) * ms;
    r.max_slice = any(10, 50) * ms;
    r.exit_grace = any(20, 100) * ms;
    r.overdue_retry = any(1, 20) * ms;
    r.growth_headroom = any(0, 4) * (G / 4);
    r.max_wait = any(1, 400) * ms;
    r.starved_after = any(10, 400) * ms;
    r.computing_max = any(20, 400) * ms;
    r.max_pause = any(500, 2000) * ms;  // longer than it takes to move everything
    r.gang_slice = any(40, 100) * ms;   // longer than until a shim sees an open gate
  }

  // The first breach, or "".
  std::string run(unsigned steps) {
    for (unsigned n = 0; n < steps; ++n) {
      for (auto events = any(0, 2); events > 0; --events) event();
      w_.now += one_in(20) ? any(1, 400) * ms : any(1, 3) * ms;
      w_.react();
      if (std::string breach = ask(); !breach.empty()) return breach;
    }
    return quiet();
  }

 private:
  std::uint64_t any(std::uint64_t low, std::uint64_t high) { return low + random_() % (high - low + 1); }
  bool one_in(std::uint64_t n) { return random_() % n == 0; }

  std::string ask() {
    decide(w_.state, w_.now, w_.last);
    if (trace_) show();
    Check check(w_.state, w_.now);
    if (std::string breach = check.breach(w_.last); !breach.empty()) return breach;
    remember(w_.state, w_.last, w_.now);
    return asks_again();
  }

  // The same moment, and a later one before the time to be woken: nothing more is decided.
  std::string asks_again() {
    const auto* wake = w_.last.empty() ? nullptr : std::get_if<WakeAt>(&w_.last.back());
    const Time at = wake ? wake->at : never;
    if (wake && at <= w_.now) return "asks to be woken in the past";
    const Time later = at == never ? w_.now + 1000 * second : w_.now + any(0, at - w_.now - 1);
    for (const Time time : {w_.now, later}) {
      const auto allocated = counted_new::count;
      decide(w_.state, time, again_);
      if (counted_new::count != allocated && again_.capacity() <= capacity_) return "allocates";
      capacity_ = again_.capacity();
      const bool only_wake = again_.size() == (wake ? 1 : 0) && (!wake || std::get_if<WakeAt>(&again_.back()));
      if (!only_wake)
        return time == w_.now ? "decides more when asked again" : "is not woken for what it decides later";
      if (wake && std::get<WakeAt>(again_.back()).at != at) return "changes its mind about when to be woken";
    }
    return "";
  }

  void event() {
    const std::size_t count = w_.state.clients.size();
    if (count == 0 || (count < 6 && one_in(12))) return join();
    const std::size_t i = any(0, count - 1);
    Client& c = w_.state.clients[i];
    Actor& a = w_.actors[i];
    switch (any(0, 20)) {
      case 0: return one_in(4) ? w_.remove(i) : void();
      case 1: return w_.allocate(i, any(0, 60) * G);
      case 2:
      case 3:
      case 4: a.busy = !a.busy; return;
      case 5:
      case 6: return c.klass == training ? void() : w_.arrive(i, one_in(2));
      case 7:
      case 8: return w_.answer(i);
      case 9: a.stopped = one_in(3) && !a.stopped; return;
      case 10: a.cannot = one_in(2) ? Overdue::none : static_cast<Overdue>(any(1, 5)); return;
      case 11: w_.state.gpu.foreign = one_in(2) ? 0 : any(0, 20) * G; return;
      case 12: return c.gate.state == GateState::closed ? signal(c) : void();
      case 13: c.loading = false; return;
      case 14: c.native = any(0, 8) * (G / 4); return;
      case 15: return a.asks ? void() : w_.ask_native(i, any(1, 8) * (G / 2));
      case 16: return a.asks || c.native_wanted == 0 ? void() : give_back_native(c);
      case 17: w_.state.gpu.kept_free = one_in(2) ? 0 : any(0, 20) * G; return;
      case 18: return c.gang == 0 ? void() : hear_of_other_cards(c.gang);
      case 19: return say_by_hand(c);
      default: return;
    }
  }

  void signal(Client& c) {
    if (!c.interrupted) c.interrupted_since = w_.now;
    c.interrupted = true;
  }

  void say_by_hand(Client& c) {
    c.order = one_in(2) ? Order::none : static_cast<Order>(any(1, 3));
    c.order_until = one_in(2) ? never : w_.now + any(1, 300) * ms;
  }

  void give_back_native(Client& c) { c.native_wanted = any(0, c.native_wanted / (G / 2)) * (G / 2); }

  void hear_of_other_cards(std::uint32_t gang) {
    const GangNews news{one_in(3) ? static_cast<Level>(any(0, 8)) : Level::none, one_in(3), one_in(4)};
    for (Client& c : w_.state.clients)
      if (c.gang == gang) note_gang(c, news, w_.now);
  }

  // As a program that starts; or one that was on the card when the broker came, if there is room for what it has.
  void join() {
    const Class klass = all_classes[any(0, 2)];
    Client c{.klass = klass, .loading = klass != training && one_in(2)};
    if (one_in(2)) c.resident = c.needed = std::min<Bytes>(any(0, 30) * G, free_now(w_.state) / 2);
    c.unevictable = one_in(20);
    c.gang = one_in(4) ? 1 + static_cast<std::uint32_t>(klass) : 0;  // of one class, as a tenant's clients are
    c.pipeline = klass != training && one_in(3) ? 1 : 0;
    if (c.gang != 0)
      for (const Client& other : w_.state.clients)
        if (other.gang == c.gang) {
          c.pipeline = other.pipeline;
          note_gang(c, {other.gang_wants, other.gang_waits_since != 0, other.gang_behind}, w_.now);
        }
    w_.add(c, {.sees_after = static_cast<unsigned>(any(0, 3)),
               .drains_after = static_cast<unsigned>(any(1, 4)),
               .moves = any(1, 20) * G,
               .busy = one_in(2)});
  }

  // Nothing disturbs any more, services finish what they do, trainers go on: everybody who wants to run does.
  std::string quiet() {
    w_.state.gpu.foreign = w_.state.gpu.kept_free = 0;
    w_.step_time = 5 * ms;
    std::vector<std::uint64_t> ran;
    for (std::size_t i = 0; i < w_.actors.size(); ++i) {
      Actor& a = w_.actors[i];
      a.stopped = false;
      a.cannot = Overdue::none;
      ran.push_back(a.ran);
      w_.state.clients[i].waiting = 0;
      w_.state.clients[i].order = Order::none;
      note_gang(w_.state.clients[i], {}, w_.now);
    }
    for (unsigned n = 0; n < 20'000; ++n) {
      w_.now += w_.step_time;
      w_.react();
      if (std::string breach = ask(); !breach.empty()) return breach + " (quiet)";
      bool all = true;
      for (std::size_t i = 0; i < ran.size(); ++i) all = served(i, ran[i]) && all;
      if (all) return "";
    }
    for (std::size_t i = 0; i < ran.size(); ++i)
      if (!served(i, ran[i]))
        return fmt::format("lets client {} wait for ever ({})", w_.state.clients[i].id,
                           name_of(w_.state.clients[i].reason));
    return "";
  }

  bool served(std::size_t i, std::uint64_t before) {
    Actor& a = w_.actors[i];
    const Client& c = w_.state.clients[i];
    if (c.stuck == Reason::does_not_fit || c.stuck == Reason::over_reserve) return true;
    if (a.busy && a.ran > before + 3 && c.klass != training) a.busy = false;
    if (a.asks) return false;
    return !a.busy || a.ran > before;
  }

  void show() const {
    fmt::print("{:.3f}", static_cast<double>(w_.now) / second);
    for (const std::string& word : describe(w_.last, w_.now)) fmt::print("; {}", word);
    fmt::print("\n");
    for (std::size_t i = 0; i < w_.state.clients.size(); ++i) {
      const Client& c = w_.state.clients[i];
      const auto gib = [](Bytes b) { return static_cast<double>(b) / G; };
      fmt::print(
          "    {} {}{}{}{}{} gate {}/{} {} ({}) quota {:.2f} held {:.2f} resident {:.2f} needed {:.2f} native {:.2f}{} "
          "{:.2f}/{:.2f}\n",
          c.id, name_of(c.klass), c.loading ? " loading" : "", c.wants ? " wants" : "", c.lease_since ? " LEASE" : "",
          c.gang ? (c.gang_waits_since ? " gang waits" : " gang") : "", name_of(c.gate.state),
          c.gate.generation - c.seen_gate.generation, name_of(c.phase.phase), name_of(c.reason),
          gib(c.quota.value_or(0)), gib(c.quota_high), gib(c.resident), gib(c.needed), gib(c.native),
          w_.actors[i].asks ? " asks" : "", gib(c.native_given), gib(c.native_wanted));
    }
  }

  World w_;
  std::mt19937_64 random_;
  bool trace_;  // print everything: one world was asked for
  Decisions again_;
  std::size_t capacity_ = 0;
};

unsigned from_environment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : otherwise;
}

TEST_CASE("no world breaks an invariant, and in each everybody who waits gets to run") {
  const unsigned worlds = from_environment("LULL_WORLDS", 1500), only = from_environment("LULL_SEED", 0);
  unsigned breaches = 0;
  for (unsigned seed = only ? only : 1; seed <= (only ? only : worlds) && breaches < 5; ++seed) {
    const std::string breach = Chaos(seed, only != 0).run(200);
    CHECK_MESSAGE(breach == "", "decide() ", breach, "; to see it again: LULL_SEED=", seed);
    breaches += breach != "";
  }
}

}  // namespace
}  // namespace lull::policy
