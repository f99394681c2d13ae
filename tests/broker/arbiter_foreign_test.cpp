// What others hold of a card: native memory, programs without Lull, room that is kept for them.
#include "tests/broker/rig.h"

using namespace lull;
using namespace lull::rig;

TEST_CASE("what an earlier broker has given for native memory stays charged, and is no demand") {
  Rig rig;
  rig.trainer.said().native_wanted = 40 * mib;
  rig.attach(1, Class::training, rig.trainer);
  const policy::Client& c = rig.arbiter.state().clients.front();
  CHECK(c.native_given == 40 * mib);
  CHECK(policy::native_charge(c, rig.arbiter.state().gpu) == (32 + 40) * mib);
  CHECK(parse_limit(rig.trainer.down->gpu[0].native_room_plus_1.load()) == 40 * mib);
}

TEST_CASE("a context of a client is its native memory, not another program's") {
  Rig rig;
  rig.settle_in();
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  const auto& trainer = rig.arbiter.state().clients.front();
  const int pid = rig.arbiter.seat(trainer.id)->who().pid;
  rig.arbiter.set_used({*mark + 70 * mib, {{pid, trainer.resident + 50 * mib}}}, *mark);
  CHECK(rig.arbiter.state().clients.front().native == 50 * mib);
  CHECK(rig.arbiter.state().gpu.foreign == 20 * mib);
  REQUIRE(rig.arbiter.refresh(trainer.id, rig.now));
  CHECK(rig.arbiter.state().clients.front().native == 50 * mib);
}

TEST_CASE("memory of other programs is what NVML sees beyond the clients, and only while nothing moves") {
  Rig rig;
  rig.settle_in();
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  rig.arbiter.set_used({*mark + 50 * mib, {}}, *mark);
  CHECK(rig.arbiter.state().gpu.foreign == 50 * mib);
  rig.arbiter.set_used({*mark + 70 * mib, {}}, *mark + 1);  // asked before something moved
  CHECK(rig.arbiter.state().gpu.foreign == 50 * mib);
  rig.arbiter.set_used({*mark - 1, {}}, *mark);
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  rig.trainer.said().phase = pack(PhaseWord{0, Phase::moving});
  REQUIRE(rig.arbiter.refresh(1, rig.now));
  CHECK_FALSE(rig.arbiter.quiet_mark());
}

TEST_CASE("what a user's gone connections had for their signals counts against the new ones, and is forgiven slowly") {
  GraceDebts debts;
  const Time t = 1000 * second;
  CHECK(debts.owed(7, t) == 0);
  debts.came(1, 0);
  debts.went(1, 7, 60 * second, t);
  CHECK(debts.owed(7, t) == 60 * second);
  CHECK(debts.owed(8, t) == 0);
  CHECK(debts.owed(7, t + 100 * second) == 50 * second);
  debts.came(2, 50 * second);
  debts.went(2, 7, 55 * second, t + 100 * second);  // only what it spent itself is new
  CHECK(debts.owed(7, t + 100 * second) == 55 * second);
  CHECK(debts.owed(7, t + 650 * second) == 0);
  debts.went(3, 7, 0, t + 650 * second);
  CHECK(debts.owed(7, t + 650 * second) == 0);
}

TEST_CASE("all connections of a user together have grace for four programs") {
  GraceDebts debts;
  const Time t = 1000 * second, grace = 60 * second;
  std::vector<GraceDebts::Account> all(64);
  for (std::size_t i = 0; i < all.size(); ++i) debts.came(all[i].client = static_cast<policy::ClientId>(i + 1), 0);
  for (std::size_t i = 0; i < 3; ++i) all[i].spent = grace;
  debts.share(7, all, grace, t);
  CHECK(all[3].spent == 0);  // whoever ends three trainers loses nothing
  all[3].spent = 45 * second;
  debts.share(7, all, grace, t);
  CHECK(all[63].spent == 45 * second);  // what is left is left once
  all[63].spent = grace;
  debts.share(7, all, grace, t);
  for (const auto& account : all) CHECK(account.spent == grace);
  debts.went(64, 7, grace, t);
  CHECK(debts.owed(7, t) == 15 * second);  // what it had itself
  debts.share(7, std::span(all).first(63), grace, t);
  CHECK(all[5].spent == grace);

  // Whoever is here all along gets back with time what others have taken, as whoever comes later does.
  for (std::size_t i = 1; i < 63; ++i) debts.went(all[i].client, 7, all[i].spent, t);
  CHECK(debts.owed(7, t) == 180 * second);
  debts.share(7, std::span(all).first(1), grace, t + 10'000 * second);
  CHECK(all[0].spent == grace);  // its own, which is not forgiven while it is here
  GraceDebts later;
  std::vector<GraceDebts::Account> nine(9);
  for (std::size_t i = 0; i < nine.size(); ++i) later.came(nine[i].client = static_cast<policy::ClientId>(i + 1), 0);
  for (std::size_t i = 0; i < 8; ++i) nine[i].spent = 30 * second;
  later.share(7, nine, grace, t);
  CHECK(nine[8].spent == grace);
  for (std::size_t i = 0; i < 8; ++i) later.went(nine[i].client, 7, nine[i].spent, t);
  later.share(7, std::span(nine).last(1), grace, t + 10'000 * second);
  CHECK(nine[8].spent == 0);
}

TEST_CASE("a training program that connects again has no new grace for its signals") {
  Rig rig;
  rig.settle_in();
  rig.request();
  REQUIRE(rig.until([&] { return rig.service.said().submissions > 0; }));
  ++rig.trainer.said().interrupted;
  rig.pace = 100 * ms;
  REQUIRE(rig.until([&] { return rig.arbiter.state().clients[0].lease_reason == Reason::exit_grace; }));
  for (int i = 0; i < 100; ++i) rig.turn();  // ten seconds of the card
  rig.arbiter.release(1, rig.now);
  Shim again;  // a new page
  again.use(800 * mib);
  rig.attach(3, Class::training, again);
  const auto& client = rig.arbiter.state().clients.back();
  REQUIRE(client.id == 3);
  CHECK(client.exit_grace_spent >= 9 * second);
  CHECK(client.exit_grace_spent <= 11 * second);
}

TEST_CASE("programs on the card that are no clients are listed, the largest first") {
  Rig rig;
  rig.settle_in();
  rig.arbiter.set_used({900 * mib, {{101, 830 * mib}, {7, std::nullopt, "Xorg"}, {8, 20 * mib, "player"}}},
                       std::nullopt);
  const auto& strangers = rig.arbiter.strangers();
  REQUIRE(strangers.size() == 2);
  CHECK(strangers[0].pid == 8);
  CHECK(strangers[1].pid == 7);
  CHECK(strangers[1].command == "Xorg");
}

TEST_CASE("room that was asked for is made, counted as theirs once they take it, and given back in time") {
  Rig rig;
  rig.settle_in();
  CHECK(rig.arbiter.most_to_free() >= 900 * mib);
  rig.arbiter.set_wish(Wish{300 * mib, 0, rig.now, rig.now + 20 * second, 0});
  rig.arbiter.step(rig.now);
  CHECK(rig.arbiter.wake_at() <= rig.now + 20 * second);
  const auto& gpu = rig.arbiter.state().gpu;
  CHECK(gpu.kept_free == 300 * mib);
  REQUIRE(rig.until([&] { return policy::free_now(rig.arbiter.state()) >= 300 * mib; }));
  const auto mark = rig.arbiter.quiet_mark();
  REQUIRE(mark);
  rig.arbiter.set_used({*mark + 200 * mib, {}}, *mark);
  rig.turn();
  CHECK(gpu.foreign == 200 * mib);
  CHECK(gpu.kept_free == 100 * mib);
  rig.arbiter.set_used({*mark + 400 * mib, {}}, *mark);  // more than was asked for
  rig.turn();
  CHECK(gpu.kept_free == 0);
  rig.arbiter.set_used({*mark, {}}, *mark);
  rig.turn();
  CHECK(gpu.kept_free == 300 * mib);
  CHECK(rig.heard.wishes_over == 0);
  rig.pace = 10 * ms;
  CHECK(rig.until([&] { return rig.trainer.said().resident == 800 * mib; }));
  CHECK(rig.heard.wishes_over == 1);
  CHECK_FALSE(rig.arbiter.wish());
  CHECK(gpu.kept_free == 0);
}

TEST_CASE("a card that does little but switch is said to thrash, once, and when it is over") {
  Rig rig;
  rig.settle_in();
  const auto there_and_back = [&] {
    const auto served = rig.service.said().submissions.load();
    rig.request();
    REQUIRE(rig.until([&] { return rig.service.said().submissions > served; }));
    rig.answered();
    const auto trained = rig.trainer.said().submissions.load();
    REQUIRE(rig.until([&] { return rig.trainer.said().submissions > trained; }));
  };
  const auto told = [&] { return std::count(rig.heard.stuck.begin(), rig.heard.stuck.end(), Reason::thrashing); };
  for (int i = 0; i < 5; ++i) {  // switches of a few milliseconds, one in a while
    there_and_back();
    rig.now += 10 * second;
    rig.turn();
  }
  CHECK_FALSE(rig.arbiter.thrashing());
  rig.pace = 500 * ms;
  for (int i = 0; i < 30; ++i) there_and_back();
  CHECK(rig.arbiter.thrashing());
  CHECK(told() == 1);
  rig.service.busy = false;
  for (int i = 0; i < 130; ++i) rig.turn();
  CHECK_FALSE(rig.arbiter.thrashing());
  CHECK(rig.heard.stuck.back() == Reason::none);
}

TEST_CASE("clients of a killed broker that wait half-way are not taken for foreign memory") {
  Rig rig;
  // Both were moving when the old broker died: 700 of 1200 MiB are on the card, and each waits for room.
  rig.service.use(500 * mib);
  rig.service.said().resident = 200 * mib;
  rig.trainer.use(700 * mib);
  rig.trainer.said().resident = 500 * mib;
  rig.trainer.busy = rig.service.busy = true;
  rig.arbiter.set_used({764 * mib, {}, true}, Bytes{0});  // before anybody is a client
  CHECK(rig.arbiter.state().gpu.foreign == 764 * mib);
  const auto moving = pack(PhaseWord{0, Phase::moving});
  rig.service.said().phase = moving;
  rig.attach(2, Class::inference, rig.service);
  SUBCASE("NVML says no more") {}
  SUBCASE("NVML says what each holds, while they still move") {
    REQUIRE_FALSE(rig.arbiter.quiet_mark());
    rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, false}, std::nullopt);
    CHECK(rig.arbiter.state().gpu.foreign == 564 * mib);  // not while the sum changes
    rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, true}, std::nullopt);
    CHECK(rig.arbiter.state().gpu.foreign == 532 * mib);
  }
  rig.trainer.said().phase = moving;
  rig.attach(1, Class::training, rig.trainer);
  CHECK(rig.arbiter.state().gpu.foreign <= 64 * mib);
  rig.arbiter.set_used({764 * mib, {{102, 232 * mib}, {101, 532 * mib}}, true}, std::nullopt);
  CHECK(rig.arbiter.state().gpu.foreign == 0);
  CHECK(rig.until([&] { return rig.service.said().resident == 500 * mib && rig.service.said().submissions > 0; }));
}
