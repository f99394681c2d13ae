// tests/broker/world.h: a card and its clients in memory. Applies decisions to a State and answers them as shims would:
// they see a gate some steps later, drain after some more, and move memory chunk by chunk towards their quota. Time is
// a number. What a client does is set on its Actor; nothing is random here.
#pragma once
#include <algorithm>
#include <vector>

#include "broker/policy.h"

namespace lull::policy {

// What is behind one client: the program and its shim.
struct Actor {
  unsigned sees_after = 0;         // steps until a word is read
  unsigned drains_after = 1;       // steps from closed to drained
  Bytes moves = 1ull << 30;        // bytes a step
  bool busy = false;               // has GPU work to submit at every step
  bool stopped = false;            // SIGSTOP: answers nothing
  bool asks = false;               // waits for the native memory it wants
  Overdue cannot = Overdue::none;  // why it cannot drain, or cannot copy

  std::optional<Bytes> seen_quota;
  unsigned gate_age = 0, quota_age = 0, closed_age = 0;
  std::uint64_t ran = 0;  // steps in which its work ran on the card
};

class World {
 public:
  State state;
  std::vector<Actor> actors;  // beside state.clients
  Time now = 1000 * second;
  Time step_time = 1 * ms;
  Decisions last;  // of the last decide()

  Client& add(Client client, Actor actor = {}) {
    client.id = next_id_++;
    if (client.connected == 0) client.connected = now;
    client.whole_since = client.resident >= client.needed ? now : 0;
    state.clients.push_back(client);
    actors.push_back(actor);
    return state.clients.back();
  }

  void remove(std::size_t index) {
    state.clients.erase(state.clients.begin() + static_cast<std::ptrdiff_t>(index));
    actors.erase(actors.begin() + static_cast<std::ptrdiff_t>(index));
  }

  const Decisions& ask() {
    decide(state, now, last);
    remember(state, last, now);
    return last;
  }

  // A request reaches a service, or is answered.
  void arrive(std::size_t index, bool proven) {
    Client& c = state.clients[index];
    ++c.waiting;
    c.proven = proven;
    c.last_arrival = c.last_request_activity = now;
  }
  void answer(std::size_t index) {
    Client& c = state.clients[index];
    if (c.waiting > 0) --c.waiting;
    c.last_request_activity = now;
  }

  // The program's allocations through Lull.
  void allocate(std::size_t index, Bytes needed) {
    Client& c = state.clients[index];
    c.needed = needed;
    if (c.resident > needed)
      c.resident = needed;
    else
      c.resident = std::max(c.resident, std::min(needed, actors[index].seen_quota.value_or(c.resident)));
    settle(c);
  }

  // A call of the driver's finds too little memory; it waits, and so does its program.
  void ask_native(std::size_t index, Bytes more) {
    state.clients[index].native_wanted += more;
    actors[index].asks = true;
  }

  // One step of every shim and program, then the broker's answer.
  void step() {
    now += step_time;
    react();
    ask();
  }
  void react() {
    for (std::size_t i = 0; i < state.clients.size(); ++i) act(state.clients[i], actors[i]);
  }

  void steps(unsigned count) {
    while (count-- > 0) step();
  }

  template <class Condition>
  bool until(Condition condition, unsigned limit) {
    while (!condition() && limit-- > 0) step();
    return condition();
  }

 private:
  void act(Client& c, Actor& a) {
    if (a.stopped) return;
    see(c, a);
    drain(c, a);
    move(c, a);
    settle(c);
    answer_native(c, a);
    work(c, a);
  }

  void see(Client& c, Actor& a) {
    if (c.seen_gate != c.gate && ++a.gate_age > a.sees_after) {
      c.seen_gate = c.gate;
      c.phase = {c.gate.generation, c.gate.state == GateState::closed ? Phase::draining : Phase::running,
                 Overdue::none};
      a.gate_age = a.closed_age = 0;
    }
    if (c.quota && (a.seen_quota != c.quota || c.quota_high != *c.quota) && ++a.quota_age > a.sees_after) {
      a.seen_quota = c.quota;
      c.quota_high = *c.quota;
      a.quota_age = 0;
    }
  }

  static bool of_drain(Overdue reason) {
    return reason == Overdue::thread_inside || reason == Overdue::stream_busy || reason == Overdue::capture_open;
  }

  void drain(Client& c, Actor& a) {
    if (c.seen_gate.state != GateState::closed || c.phase.generation != c.seen_gate.generation) return;
    if (c.phase.phase == Phase::drained || ++a.closed_age < a.drains_after) return;
    if (of_drain(a.cannot)) {
      c.phase = {c.seen_gate.generation, Phase::overdue, a.cannot};
      return;
    }
    c.phase = {c.seen_gate.generation, Phase::drained, Overdue::none};
    c.overdue_count = 0;
  }

  void move(Client& c, Actor& a) {
    if (!a.seen_quota) return;
    const Bytes quota = *a.seen_quota;
    if (quota < c.resident && !c.unevictable && c.seen_gate == c.gate && c.phase.phase >= Phase::drained) {
      if (a.cannot == Overdue::none)
        c.resident -= std::min(a.moves, chunks_up(c.resident - quota, c.resident));
      else
        c.phase = {c.seen_gate.generation, Phase::overdue, a.cannot};
    } else if (quota > c.resident && c.needed > c.resident) {
      c.resident += std::min({a.moves, quota - c.resident, c.needed - c.resident});
    }
  }

  // Whole chunks leave.
  Bytes chunks_up(Bytes bytes, Bytes at_most) const {
    const Bytes chunk = state.gpu.chunk;
    return std::min((bytes + chunk - 1) / chunk * chunk, at_most);
  }

  void settle(Client& c) const {
    if (c.resident < c.needed)
      c.whole_since = 0;
    else if (c.whole_since == 0)
      c.whole_since = now;
  }

  static void answer_native(Client& c, Actor& a) {
    if (!a.asks || (c.native_given < c.native_wanted && c.native_refused != c.native_wanted)) return;
    if (c.native_refused == c.native_wanted) c.native_wanted = c.native_given;
    a.asks = false;
  }

  // A program with work submits it: it runs if the gate is open and its memory is there.
  void work(Client& c, Actor& a) {
    const bool passes = c.seen_gate.state != GateState::closed && c.gate.state != GateState::closed;
    if (passes) c.wants = false;
    if (!a.busy && !a.asks) return;
    if (!passes) {
      if (!c.wants) note_busy(c, state.rules, now);
      if (!c.wants) c.wants_since = now;
      c.wants = true;
    } else if (c.resident >= c.needed && !a.asks) {
      note_busy(c, state.rules, now);
      c.last_submission = now;
      ++a.ran;
    }
  }

  ClientId next_id_ = 1;
};

}  // namespace lull::policy
