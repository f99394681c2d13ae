// Hazard 2 where what runs is a copy: a drain waits for a piece of it.
#include <atomic>
#include <thread>

#include "tests/hazards/support.h"

namespace lull::hazards {

TEST_CASE("hazard 2: a drain waits for a piece of a long copy, and what is left of it waits at the gate") {
  constexpr std::size_t bytes = 160 * mib, pieces = 3;
  broker().give_backing(bytes);
  CUdeviceptr at = 0;
  (void)context();
  OK(cuMemAlloc_v2(&at, bytes));
  const std::vector<std::uint32_t> words = pattern(bytes, 1);
  const std::size_t before = calls("cuMemcpyHtoD_v2");
  std::atomic<bool> enough{false};
  std::atomic<std::size_t> copies{0};
  std::thread copier([&, current = context()] {
    OK(cuCtxSetCurrent(current));
    for (; !enough; ++copies) OK(cuMemcpyHtoD_v2(at, words.data(), bytes));
  });
  // A closing falls between two pieces, or between two copies: then again.
  bool between = false;
  for (unsigned round = 0; round < 15 && !between; ++round) {
    const std::size_t begun = copies;
    demand(comes_true([&] { return copies > begun; }), "copies go on when the gate is open");
    broker().gate(GateState::closed);
    demand(broker().reaches(Phase::drained), "a drain ends");
    const std::size_t done = calls("cuMemcpyHtoD_v2") - before;
    between = done % pieces != 0 && done > copies * pieces;
    if (!between) broker().gate(GateState::open);
  }
  demand(between, "a drain waits for a piece of a long copy, not for all of it");
  enough = true;
  broker().quota(0);
  demand(comes_true([] { return broker().up().resident.load() == 0; }), "the memory leaves in the middle of the copy");
  demand(broker().restore(), "the memory comes back");
  copier.join();
  demand((calls("cuMemcpyHtoD_v2") - before) % pieces == 0, "the copy goes on where it was");
  demand(intact(at, bytes, 1), "the copy is whole");
  OK(cuMemFree_v2(at));
}

}  // namespace lull::hazards
