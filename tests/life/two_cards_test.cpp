// One program, two cards, several contexts: each card's memory moves by its own words.
#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

// Two contexts on each card, with memory in each.
struct Place {
  CUcontext context = nullptr;
  CUdeviceptr at = 0;
};

Place make(CUdevice device, std::uint32_t seed) {
  Place place;
  OK(cuCtxCreate_v2(&place.context, 0, device));
  OK(cuMemAlloc_v2(&place.at, 16 * mib));
  fill(place.at, 16 * mib, seed);
  return place;
}

void to(unsigned card) { broker().card = card; }

bool intact_in(const Place& place, std::uint32_t seed) {
  OK(cuCtxSetCurrent(place.context));
  return intact(place.at, 16 * mib, seed);
}

}  // namespace

int run_role(std::string_view) { return 64; }

TEST_CASE("memory of one card leaves and comes back while the other's stays") {
  (void)context();
  const Place places[] = {make(0, 1), make(1, 2), make(0, 3), make(1, 4)};
  for (unsigned card : {0u, 1u}) {
    to(card);
    demand(comes_true([] { return broker().attached(); }), "both cards are attached");
    demand(broker().up().needed.load() == 32 * mib, "each card's memory is counted where it is");
  }
  broker().give_backing(128 * mib);
  for (unsigned card : {1u, 0u, 1u}) {
    to(card);
    demand(broker().evict_to(0), "a card's memory leaves");
    to(1 - card);
    demand(broker().up().resident.load() == 32 * mib, "the other card's memory stays");
    to(card);
    demand(broker().restore(), "a card's memory comes back");
  }
  for (std::uint32_t i = 0; i < 4; ++i) demand(intact_in(places[i], i + 1), "all of it is as it was");
  OK(cuCtxDestroy_v2(places[3].context));
  to(1);
  demand(broker().up().needed.load() == 16 * mib, "a context takes along what was in it, and no more");
  demand(intact_in(places[1], 2), "its neighbour on the card keeps its memory");
  for (unsigned i : {0u, 1u, 2u}) OK(cuCtxDestroy_v2(places[i].context));
  to(0);
  demand(broker().up().needed.load() == 0, "nothing is left");
}

TEST_CASE("a gate that is closed on either card holds the program's submissions, until both are open") {
  const Place on_second = make(1, 5);
  for (unsigned card : {0u, 1u}) {
    to(card);
    broker().gate(GateState::closed);
    demand(broker().reaches(Phase::drained), "the card is drained");
    const std::uint64_t wants = broker().up().wants.load();
    std::atomic<bool> done{false};
    std::thread submitter([&] {
      OK(cuCtxSetCurrent(on_second.context));
      OK(cuMemsetD8_v2(on_second.at, 1, 16));
      done = true;
    });
    demand(comes_true([&] { return broker().up().wants.load() > wants; }),
           "the closed card's broker word is asked for");
    demand(!done, "nothing is submitted");
    broker().gate(GateState::open);
    submitter.join();
  }
  OK(cuCtxDestroy_v2(on_second.context));
}

}  // namespace lull::hazards
