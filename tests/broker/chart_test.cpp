#include "broker/chart.h"

#include <doctest/doctest.h>

#include <memory>

#include "broker/units.h"

using namespace lull;
using policy::Bytes;
using policy::ms;

namespace {

constexpr Bytes grain = 8 * mib;

struct ChartRig {
  std::unique_ptr<DownPage> down = std::make_unique<DownPage>();
  std::unique_ptr<UpPage> up = std::make_unique<UpPage>();
  DownWriter writer{down.get()};
  std::vector<policy::Client> clients;
  std::vector<Seat> seats;
  Chart chart;
  policy::Time now = 1000 * ms;

  policy::Client& add(policy::ClientId id) {
    policy::Client c;
    c.id = id;
    c.gate.state = GateState::open;
    clients.push_back(c);
    seats.emplace_back(Who{id, 100 + static_cast<int>(id), 0, Class::training, "t"}, writer, up->gpu[0], 0);
    return clients.back();
  }
  void note(Bytes foreign = 0) { chart.note({clients, seats}, foreign, grain, now); }
  void remove_first() {
    clients.erase(clients.begin());
    seats.erase(seats.begin());
  }
};

}  // namespace

TEST_CASE("what a client is doing follows from its gate, its quota and its phase") {
  policy::Client c;
  CHECK(doing_of(c) == Doing::unmanaged);
  c.gate = {1, GateState::open};
  c.needed = c.resident = 10;
  CHECK(doing_of(c) == Doing::running);
  c.gate = {2, GateState::closed};
  c.phase = {1, Phase::drained};  // of an earlier gate
  CHECK(doing_of(c) == Doing::draining);
  c.phase = {2, Phase::drained};
  CHECK(doing_of(c) == Doing::paused);
  c.quota = 4;
  CHECK(doing_of(c) == Doing::evicting);
  c.resident = 4;
  CHECK(doing_of(c) == Doing::evicted);
  c.quota = 10;
  c.phase = {2, Phase::moving};
  CHECK(doing_of(c) == Doing::restoring);
  c.gate = {3, GateState::open};
  CHECK(doing_of(c) == Doing::restoring);
  CHECK(std::string(doing_names[static_cast<std::size_t>(Doing::restoring)]) == "restoring");
}

TEST_CASE("what stays as it is makes no points; memory makes one a grain, and the rest after a while") {
  ChartRig rig;
  auto& c = rig.add(1);
  rig.note();
  rig.note();
  REQUIRE(rig.chart.points().size() == 1);
  c.resident = c.needed = grain;
  rig.note();
  REQUIRE(rig.chart.points().size() == 2);
  CHECK(rig.chart.points().back().resident == grain);
  c.resident = c.needed = grain + mib;
  rig.now += ms;
  rig.note();
  CHECK(rig.chart.points().size() == 2);
  rig.now += Chart::soon;
  rig.note();
  REQUIRE(rig.chart.points().size() == 3);
  CHECK(rig.chart.points().back().resident == grain + mib);
  rig.note(5 * mib);
  CHECK(rig.chart.points().back().client == 0);
  CHECK(rig.chart.points().back().resident == 5 * mib);
}

TEST_CASE("who has left is known as long as a point speaks of it") {
  ChartRig rig;
  rig.add(1);
  rig.add(2);
  rig.note();
  rig.remove_first();
  rig.note();
  CHECK(rig.chart.points().back().doing == Doing::gone);
  CHECK(rig.chart.points().back().client == 1);
  CHECK(rig.chart.who().size() == 2);
  rig.add(3);
  rig.note();
  CHECK(rig.chart.who().size() == 3);
  for (std::size_t i = 0; i < 2 * Chart::kept; ++i) {
    auto& state = rig.clients.back().gate.state;
    state = state == GateState::open ? GateState::unmanaged : GateState::open;
    rig.now += ms;
    rig.note();
  }
  CHECK(rig.chart.points().size() == Chart::kept);
  REQUIRE(rig.chart.who().size() == 2);  // 2 is still here, though no point speaks of it
  CHECK(rig.chart.who()[0].id == 2);
  rig.clients.clear();
  rig.seats.clear();
  rig.note();
  CHECK(rig.chart.points().back().doing == Doing::gone);
}
