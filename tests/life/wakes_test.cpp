// Wakes that are lost, programs that are stopped, brokers of another version: nobody hangs.
#include <csignal>

#include "tests/hazards/support.h"

namespace lull::hazards {

TEST_CASE("gate and quota are followed also when every wake is lost") {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, 8 * mib));
  fill(at, 8 * mib, 21);
  broker().give_backing(32 * mib);
  broker().rings = false;
  demand(broker().evict_to(0), "the memory leaves though nobody was woken");
  demand(broker().restore(), "the memory comes back though nobody was woken");
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is paused though nobody was woken");
  const std::uint64_t wants = broker().up().wants.load();
  std::atomic<bool> done{false};
  std::thread submitter([&] {
    OK(cuCtxSetCurrent(context()));
    done = intact(at, 8 * mib, 21);
  });
  demand(comes_true([&] { return broker().up().wants.load() > wants; }), "a thread waits at the gate");
  broker().gate(GateState::open);
  demand(comes_true([&] { return done.load(); }), "it finds the gate open though nobody was woken");
  submitter.join();
  broker().rings = true;
  OK(cuMemFree_v2(at));
}

TEST_CASE("a program that is stopped while it is paused does as it was told when it goes on") {
  OtherBroker broker;
  Program program(role("hold"), Preload::yes);
  demand(program.line() == "ready" && comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->give_backing(64 * mib);
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "it is paused");
  program.kill(SIGSTOP);
  const std::uint64_t resident = broker->up().resident.load();
  broker->quota(0);
  demand(!comes_true([&] { return broker->up().resident.load() < resident; }, 1), "what is stopped does nothing");
  program.kill(SIGCONT);
  demand(comes_true([&] { return broker->up().resident.load() == 0; }), "its memory leaves when it goes on");
  demand(broker->restore(), "its memory comes back");
  program.release();
  demand(program.wait(10) == 0, "its memory is as it was");
}

TEST_CASE("a broker of a newer minor version manages a program as before") {
  OtherBroker broker;
  broker->minor = protocol_minor + 7;
  Program program(role("hold"), Preload::yes);
  demand(program.line() == "ready" && comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->give_backing(64 * mib);
  demand(broker->evict_to(0) && broker->restore(), "its memory leaves and comes back");
  program.release();
  demand(program.wait(10) == 0, "its memory is as it was");
}

TEST_CASE("with a broker of another major version a program runs unmanaged") {
  OtherBroker broker;
  broker->major = protocol_major + 1;
  Program program(role("hold"), Preload::yes);
  demand(program.line() == "ready", "the program does not wait for such a broker");
  demand(!broker->attached(), "it does not tell such a broker of its GPU");
  program.release();
  demand(program.wait(10) == 0, "it ends well");
}

}  // namespace lull::hazards
