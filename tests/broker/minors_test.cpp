// Clients of the minor version before this one, and of the one after it, in every phase that a tenant can be in.
#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>

#include "broker/units.h"
#include "lulld.h"

using namespace lull;

namespace {

constexpr std::uint64_t all = 96 * mib, service_bytes = 860 * mib;  // of 928 MiB
constexpr std::uint16_t minors[] = {protocol_minor - 1, protocol_minor + 1};

std::string quick(const std::string& host_memory = "1GiB", const std::string& keep_free = "0") {
  return "host_memory = \"" + host_memory + "\"\nhost_memory_keep_free = \"" + keep_free +
         "\"\n[policy]\nkeep_alive = \"0\"\nloading_quiet = \"100ms\"\nloading_linger = \"0\"\nmin_hold = \"0\"\n";
}

// A trainer that is moved by hand, and a service that takes the card from it.
struct Pair {
  Lulld& lulld;
  FakeShim job, service;
  Pair(Lulld& broker, std::uint16_t minor)
      : lulld(broker), job(broker, Class::training, "job"), service(broker, Class::inference) {
    REQUIRE(job.hello(protocol_major, minor));
    job.attach(all);
    job.busy = true;
    REQUIRE(job.acts_until([&] { return job.said().submissions > 0 && job.arena_bytes >= all; }));
    service.flags = hello_native;  // so that it needs no memory of the host
    REQUIRE(service.hello());
    service.attach(service_bytes);
    service.busy = true;
  }
  std::uint64_t quota() { return parse_limit(job.asked().quota_plus_1.load()).value_or(~0ull); }
  void say(Phase phase, std::uint64_t resident) {
    const auto gate = *parse_gate(job.asked().gate.load());
    job.said().seen_gate = pack(gate);
    job.said().seen_quota_plus_1 = job.asked().quota_plus_1.load();
    job.said().resident = resident;
    job.said().phase = pack(PhaseWord{gate.generation, phase});
    job.ring();
  }
  bool told(const char* phase) {
    return eventually([&] { return lulld.client(job.number)["phase"] == phase; });
  }
  bool service_until(auto&& holds) { return service.acts_until(holds); }

  void close() {
    REQUIRE(service_until([&] { return job.gate() == GateState::closed; }));
  }
  void drain() {
    say(Phase::draining, all);
    CHECK(told("draining"));
    service.act();
    CHECK(service.said().resident < service_bytes);  // there is no room before something has left
    ++job.said().wants;
    say(Phase::drained, all);
    REQUIRE(eventually([&] { return quota() < all; }));
  }
  void evict() {
    say(Phase::moving, all);
    CHECK(told("moving"));
    say(Phase::drained, quota());
    REQUIRE(service_until([&] {
      if (job.said().resident.load() > quota()) say(Phase::drained, quota());
      return service.said().submissions > 0;
    }));
  }
  void restore() {
    service.busy = false;
    service.said().needed = 0;
    REQUIRE(service_until([&] { return quota() >= all; }));
    say(Phase::moving, job.said().resident);
    CHECK(told("moving"));
    say(Phase::ready, all);
    REQUIRE(service_until([&] { return job.gate() == GateState::open; }));
    const auto before = job.said().submissions.load();
    CHECK(job.acts_until([&] { return job.said().submissions > before; }));
  }
  void well() {
    CHECK(job.receive());
    CHECK(lulld.status()["dropped"] == 0);
  }
};

}  // namespace

TEST_CASE("a client of another minor version is paused, drained, evicted and restored") {
  for (const auto minor : minors) {
    CAPTURE(minor);
    Lulld lulld(quick());
    Pair pair(lulld, minor);
    pair.close();
    pair.drain();
    pair.evict();
    pair.restore();
    pair.well();
  }
}

TEST_CASE("a client of another minor version outlives its broker in each phase") {
  for (const auto minor : minors)
    for (const auto phase : {Phase::running, Phase::draining, Phase::drained, Phase::moving}) {
      CAPTURE(minor);
      CAPTURE(static_cast<int>(phase));
      Lulld lulld(quick());
      std::uint64_t resident = all, backing = 0;
      {
        Pair pair(lulld, minor);
        backing = pair.job.arena_bytes;
        if (phase != Phase::running) pair.close();
        if (phase == Phase::draining) pair.say(Phase::draining, all);
        if (phase == Phase::drained || phase == Phase::moving) {
          pair.drain();
          resident = phase == Phase::moving ? all / 2 : pair.quota();
          pair.say(phase, resident);
        }
        CHECK(lulld.stop(SIGKILL).status == 128 + SIGKILL);
      }
      lulld.start();  // the client is in grace, and comes back with what it has
      FakeShim job(lulld, Class::training, "job");
      REQUIRE(job.hello(protocol_major, minor, backing));
      job.attach(all, resident);
      ++job.said().wants;
      job.busy = true;
      CHECK(job.acts_until([&] { return job.said().resident == all && job.said().submissions > 0; }));
      CHECK(lulld.client(job.number)["backing"] >= backing);
      CHECK(lulld.status()["dropped"] == 0);
    }
}

TEST_CASE("what is evicted goes to disk and comes back for a client that knows how; of an earlier one it stays") {
  char directory[] = "/tmp/lull-minors-XXXXXX";
  REQUIRE(::mkdtemp(directory));
  const std::string spill = "spill_path = \"" + std::string(directory) + "\"\n";
  for (const std::uint16_t minor : {std::uint16_t{1}, minors[0], minors[1]}) {
    CAPTURE(minor);
    Lulld lulld(spill + quick());
    Pair pair(lulld, minor);
    pair.close();
    pair.drain();
    pair.evict();
    lulld.write_config(spill + quick("1GiB", "60TiB"));  // the machine is said to be short of memory
    lulld.kill(SIGHUP);
    REQUIRE(eventually([&] { return lulld.status()["host"]["pressure"] == "severe"; }));
    const auto asked = [&] { return pair.job.down.as<DownPage>()->park_bytes.load() > 0; };
    if (minor < 2) {
      FakeShim other(lulld, Class::training);  // of this version: whether anybody is asked at all
      REQUIRE(other.hello());
      CHECK_FALSE(asked());
    } else {
      REQUIRE(pair.service_until(asked));
      auto parked = make_message<Spill>();
      parked.number = pair.job.arenas[0].number;
      parked.bytes = pair.job.arenas[0].bytes;
      parked.step = static_cast<std::uint32_t>(SpillStep::parked);
      parked.turn = 1;
      const auto send = [&](SpillStep step) {
        parked.step = static_cast<std::uint32_t>(step);
        pair.job.send(std::as_bytes(std::span(&parked, 1)));
      };
      send(SpillStep::parked);
      REQUIRE(eventually([&] { return pair.job.receive() && pair.job.spilled == 1; }));
      send(SpillStep::kept);
      REQUIRE(eventually([&] { return lulld.status()["host"]["spill"]["stored"] == parked.bytes; }));
      send(SpillStep::recalled);
      REQUIRE(eventually([&] { return pair.job.receive() && pair.job.filled == 1; }));
      send(SpillStep::resumed);
    }
    lulld.write_config(spill + quick());
    lulld.kill(SIGHUP);
    pair.restore();
    pair.well();
  }
  std::filesystem::remove_all(directory);
}
