// Who runs together, and who one after another. Sizes are in GiB; each card has 79 to give.
#include "broker/gangs.h"
#include "tests/broker/cards.h"

namespace lull::policy {
namespace {

Client of_gang(Class klass, Bytes gib, std::uint32_t gang) {
  Client c = evicted(klass, gib);
  c.gang = gang;
  c.gate_since = World().now;  // not paused for long yet
  return c;
}

Client stage(Bytes gib) {
  Client c = evicted(inference, gib);
  c.pipeline = 1;
  return c;
}

bool open(const World& w, std::size_t index) { return gate(w, index) == GateState::open; }
Reason reason(const World& w, std::size_t index) { return w.state.clients[index].reason; }

// Two cards side by side, and a broker that tells each what those of its gangs say on the other.
struct Cards {
  World at[2] = {card(), card()};

  Cards() {
    for (World& w : at) w.step_time = 20 * ms;
  }
  void tell() {
    std::vector<GangPart> parts;
    for (std::size_t n = 0; n < 2; ++n)
      for (const Client& c : at[n].state.clients)
        if (c.gang != 0) parts.push_back({c.gang, n, c.id, c.gang_said, {}});
    coordinate(parts);
    for (const GangPart& part : parts)
      for (Client& c : at[part.card].state.clients)
        if (c.id == part.client) note_gang(c, part.news, at[part.card].now);
  }
  void step() {
    for (World& w : at) {
      w.now += w.step_time;
      w.react();
    }
    for (int round = 0; round < 4; ++round) {
      for (World& w : at) w.ask();
      tell();
    }
    for (World& w : at) CHECK(w.ask().size() <= 1);  // nothing but when to be woken
  }
  void steps(unsigned count) {
    while (count-- > 0) step();
  }
  template <class F>
  bool until(F f, unsigned limit) {
    while (!f() && limit-- > 0) step();
    return f();
  }
};

TEST_CASE(
    "a part hears what the parts on other cards want, that one is not ready, and that an earlier one has no place") {
  using enum Readiness;
  struct Row {
    std::uint32_t gang;
    std::size_t card;
    GangWord said;
    Level wants;
    bool waits, behind;
  };
  const Row rows[] = {
      {1, 0, {ready, Level::training}, Level::none, true, false},
      {1, 1, {none, Level::none}, Level::training, true, false},
      {1, 2, {seated, Level::none}, Level::training, true, true},
      {2, 0, {none, Level::inference}, Level::none, false, false},  // both on one card: that card's own business
      {2, 0, {none, Level::none}, Level::none, false, false},
      {3, 1, {ready, Level::none}, Level::exit, false, false},
      {3, 2, {ready, Level::exit}, Level::none, false, false},
  };
  std::vector<GangPart> parts;
  for (const Row& r : rows) parts.push_back({r.gang, r.card, 1, r.said, {}});
  coordinate(parts);
  for (std::size_t n = 0; n < std::size(rows); ++n) {
    CAPTURE(n);
    CHECK(parts[n].news.wants == rows[n].wants);
    CHECK(parts[n].news.waits == rows[n].waits);
    CHECK(parts[n].news.behind == rows[n].behind);
  }
}

TEST_CASE("two ranks on one card come in together, when both have their memory") {
  World w = card();
  w.add(running(training, 50), {.busy = true});
  w.step();
  w.add(of_gang(inference, 30, 1), {.busy = true});
  w.add(of_gang(inference, 40, 1), {.busy = true});
  w.steps(2);
  while (!open(w, 1) && w.state.clients[1].resident < 31 * G) {
    CHECK(open(w, 1) == open(w, 2));
    if (w.now > 1010 * second) break;
    w.step();
  }
  CHECK(open(w, 1));
  CHECK(open(w, 2));
  CHECK(w.state.clients[1].resident == 30 * G);
  CHECK(w.state.clients[2].resident == 40 * G);
  CHECK(w.state.clients[0].resident == 9 * G);
}

TEST_CASE("a rank that grows does not send the others away") {
  World w = card();
  w.add(of_gang(training, 10, 1), {.busy = true});
  w.add(of_gang(training, 10, 1), {.busy = true});
  w.steps(30);
  REQUIRE(open(w, 0));
  w.allocate(0, 30 * G);
  for (int n = 0; n < 30; ++n) {
    w.step();
    CHECK(open(w, 0));
    CHECK(open(w, 1));
  }
  CHECK(w.state.clients[0].resident == 30 * G);
}

TEST_CASE("ranks that do not fit on the card together are told so, though each would fit") {
  World w = card();
  w.add(of_gang(training, 50, 1), {.busy = true});
  w.add(of_gang(training, 50, 1), {.busy = true});
  w.add(evicted(training, 60), {.busy = true});
  w.steps(100);
  CHECK(w.state.clients[0].stuck == Reason::does_not_fit);
  CHECK(w.state.clients[1].stuck == Reason::does_not_fit);
  CHECK(w.actors[0].ran + w.actors[1].ran == 0);
  CHECK(w.actors[2].ran > 0);
}

TEST_CASE("a gang has one turn, not one for each of its processes") {
  World w = card();
  w.state.rules.quantum = 1 * second;
  w.step_time = 10 * ms;
  w.add(of_gang(training, 30, 1), {.busy = true});
  w.add(of_gang(training, 30, 1), {.busy = true});
  w.add(evicted(training, 60), {.busy = true});
  w.steps(6000);
  CHECK(w.actors[0].ran > 2000);
  CHECK(w.actors[2].ran > 2000);
  CHECK(w.actors[0].ran + 1000 > w.actors[2].ran);
  CHECK(w.actors[2].ran + 1000 > w.actors[0].ran);
}

TEST_CASE("where the work of one rank does not end, the others are let in, too: it may be waiting for theirs") {
  World w = card();
  w.add(of_gang(training, 30, 1), {.busy = true});
  w.add(of_gang(training, 30, 1), {.busy = true});
  w.add(evicted(inference, 60));
  w.steps(70);
  w.actors[0].cannot = Overdue::stream_busy;
  blocked(w, 2);
  REQUIRE(w.until([&] { return w.state.clients[0].overdue_until != 0; }, 50));
  CHECK(w.state.clients[1].overdue_until == w.state.clients[0].overdue_until);
  CHECK(open(w, 0));
  CHECK(open(w, 1));
}

TEST_CASE("a gang that was paused for four minutes gets two seconds, after the present request") {
  World w = trainer_and_service(60, 30);
  w.state.clients[0].gang = 1;
  w.step_time = 100 * ms;
  w.actors[0].moves = w.actors[1].moves = 60 * G;
  w.arrive(1, true);
  w.actors[1].busy = true;
  REQUIRE(w.until([&] { return !open(w, 0); }, 20));
  const Time paused = w.now;
  REQUIRE(w.until([&] { return open(w, 0); }, 3000));
  CHECK(w.now - paused >= 240 * second);
  CHECK(w.now - paused <= 246 * second);
  CHECK(w.state.clients[0].lease_reason == Reason::gang_slice);
  const auto before = w.actors[0].ran;
  const Time slice = w.now;
  REQUIRE(w.until([&] { return !open(w, 0); }, 100));
  CHECK(w.actors[0].ran > before + 10);
  CHECK(w.now - slice >= 2 * second);
  CHECK(w.now - slice <= 4 * second);
  CHECK(has_lease(w, 1));
}

TEST_CASE("a rank is paused while the other one's card serves a request, and both go on together") {
  Cards cards;
  for (World& w : cards.at) w.add(of_gang(training, 60, 1), {.busy = true});
  REQUIRE(cards.until([&] { return cards.at[0].actors[0].ran > 2 && cards.at[1].actors[0].ran > 2; }, 300));
  cards.at[0].add(evicted(inference, 40));
  cards.steps(2);
  blocked(cards.at[0], 1);
  cards.at[0].actors[1].busy = true;
  cards.steps(3);
  CHECK(!open(cards.at[0], 0));
  CHECK(!open(cards.at[1], 0));
  CHECK(reason(cards.at[1], 0) == Reason::gang_waits);
  REQUIRE(cards.until([&] { return cards.at[0].actors[1].ran > 3; }, 300));
  CHECK(cards.at[1].state.clients[0].resident == 60 * G);  // its memory disturbs nobody
  cards.at[0].actors[1].busy = false;
  const auto before = cards.at[1].actors[0].ran;
  CHECK(cards.until([&] { return cards.at[1].actors[0].ran > before; }, 1000));
  CHECK(open(cards.at[0], 0));
}

TEST_CASE("a request for one rank brings the other one's memory on its card, too") {
  Cards cards;
  for (World& w : cards.at) {
    w.add(running(training, 70), {.busy = true});
    w.add(of_gang(inference, 40, 1));
  }
  cards.steps(3);
  cards.at[0].arrive(1, true);
  cards.at[0].actors[1].busy = true;
  CHECK(cards.until([&] { return cards.at[0].actors[1].ran > 0; }, 300));
  CHECK(open(cards.at[1], 1));
  CHECK(cards.at[1].state.clients[1].resident == 40 * G);
  cards.at[0].answer(1);
  cards.at[0].actors[1].busy = false;
  CHECK(cards.until([&] { return open(cards.at[0], 0) && open(cards.at[1], 0); }, 3000));
}

TEST_CASE("two gangs that each have one of two cards: one of them gets both, and then they take turns") {
  for (const Class klass : {training, inference}) {
    Cards cards;
    for (World& w : cards.at) w.state.rules.quantum = w.state.rules.max_slice = 20 * second;
    cards.at[0].add(of_gang(klass, 60, 1), {.busy = true});
    cards.at[1].add(of_gang(klass, 60, 2), {.busy = true});
    cards.steps(5);
    cards.at[0].add(of_gang(klass, 60, 2), {.busy = true});
    cards.at[1].add(of_gang(klass, 60, 1), {.busy = true});
    const auto ran = [&](std::size_t gang) {  // on both cards
      const std::size_t at_0 = gang - 1, at_1 = 2 - gang;
      return std::min(cards.at[0].actors[at_0].ran, cards.at[1].actors[at_1].ran);
    };
    for (int turn = 0; turn < 4; ++turn) {
      const auto one = ran(1), two = ran(2);
      CHECK(cards.until([&] { return ran(1) > one + 100; }, 10000));
      CHECK(cards.until([&] { return ran(2) > two + 100; }, 10000));
    }
  }
}

TEST_CASE("a gang whose other rank has stopped keeps the card from nobody for long") {
  Cards cards;
  cards.at[0].add(of_gang(inference, 60, 1), {.busy = true});
  cards.at[1].add(of_gang(inference, 60, 1), {.busy = true, .stopped = true});
  cards.at[0].add(evicted(training, 60), {.busy = true});
  cards.steps(3);
  const auto before = cards.at[0].actors[1].ran;
  CHECK(cards.until([&] { return cards.at[0].actors[1].ran > before + 100; }, 10000));
}

TEST_CASE("the other stages of a pipeline leave before the trainer's memory does") {
  World w = card();
  w.add(running(training, 40), {.busy = true});
  for (int n = 0; n < 3; ++n) w.add(stage(30));
  w.steps(3);
  for (int request = 0; request < 3; ++request)
    for (std::size_t now = 1; now <= 3; ++now) {
      blocked(w, now);
      w.actors[now].busy = true;
      const auto before = w.actors[now].ran;
      REQUIRE(w.until([&] { return w.actors[now].ran > before + 2; }, 500));
      CHECK(w.state.clients[0].resident == 40 * G);  // one stage fits beside it
      w.actors[now].busy = false;
    }
  CHECK(w.until([&] { return open(w, 0); }, 5000));
}

TEST_CASE("a stage whose request is answered gives way to the next one at once") {
  World w = card();
  w.add(stage(50));
  w.add(stage(50));
  for (std::size_t n = 0; n < 2; ++n) {
    w.arrive(n, true);
    w.actors[n].busy = true;
    REQUIRE(w.until([&] { return w.actors[n].ran > 5; }, 500));
    if (n == 1) break;
    w.answer(n);
    w.actors[n].busy = false;
    w.arrive(1, true);
    w.step();
    CHECK(has_lease(w, 1));
    w.answer(1);
  }
}

TEST_CASE("stages that fit together stay together, and each runs when it likes") {
  World w = card();
  for (int n = 0; n < 3; ++n) w.add(stage(20), {.busy = true});
  w.steps(200);
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK(open(w, n));
    CHECK(w.actors[n].ran > 10);
  }
}

}  // namespace
}  // namespace lull::policy
