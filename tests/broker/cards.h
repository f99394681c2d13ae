// tests/broker/cards.h: the cards on which the policy's tests play.
#pragma once
#include <doctest/doctest.h>

#include "tests/broker/describe.h"
#include "tests/broker/world.h"

template <>
struct doctest::StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& words) {
    return fmt::format("\n    {}", fmt::join(words, "\n    ")).c_str();
  }
};

namespace lull::policy {

inline constexpr Bytes G = 1ull << 30;
using Said = std::vector<std::string>;

// 80 GiB, of which 79 may be used; no native memory.
inline World card() {
  World w;
  w.state.gpu = {.capacity = 80 * G, .headroom = 1 * G, .chunk = 128ull << 20};
  return w;
}

// A client as it comes: not managed yet, all its memory on the card.
inline Client running(Class klass, Bytes gib) { return {.klass = klass, .resident = gib * G, .needed = gib * G}; }

inline Said asked(World& w) { return describe(w.ask(), w.now); }
inline GateState gate(const World& w, std::size_t index) { return w.state.clients[index].gate.state; }
inline bool has_lease(const World& w, std::size_t index) { return w.state.clients[index].lease_since != 0; }

inline constexpr Class training = Class::training, interactive = Class::interactive, inference = Class::inference;

// A client that was on the card before and has been evicted: it has `resident` of its memory and a closed gate.
inline Client evicted(Class klass, Bytes gib, Bytes resident = 0) {
  Client c = running(klass, gib);
  c.resident = resident * G;
  c.quota = c.quota_high = c.resident;
  c.gate = c.seen_gate = {1, GateState::closed};
  c.phase = {1, Phase::drained, Overdue::none};
  return c;
}

inline void blocked(World& w, std::size_t index) {
  Client& c = w.state.clients[index];
  c.wants = true;
  c.wants_since = w.now;
}

// Time goes by; shims answer at once, and decisions are made when decide() asked to be woken.
inline void wait(World& w, Time duration) {
  const Time end = w.now + duration;
  while (w.now < end) {
    for (unsigned n = 0; n < 200; ++n) {
      w.react();
      w.ask();
    }
    const auto* wake = w.last.empty() ? nullptr : std::get_if<WakeAt>(&w.last.back());
    w.now = wake ? std::min(wake->at, end) : end;
  }
  w.ask();
}

// A busy trainer that has had the card for an hour, and a service that was loaded before and has what memory the
// trainer leaves to it; everything decided.
inline World trainer_and_service(Bytes trainer, Bytes service) {
  World w = card();
  w.add(running(training, trainer), {.busy = true});
  w.step();
  w.add(trainer + service <= 79 ? running(inference, service) : evicted(inference, service, 79 - trainer));
  w.now += 3600 * second;
  w.steps(3);
  return w;
}

}  // namespace lull::policy
