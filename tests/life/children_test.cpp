// Children of a managed program, programs it becomes, and one that closes every descriptor.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

// A second broker's directory, for what the program beside the case starts.
void name_the_next(const char* variable = "LULL_TEST_NEXT") {
  (void)::setenv(variable, ::getenv("LULL_RUNTIME_DIR"), 1);
}

bool alone() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks)) == 1;
}

void move_memory(OtherBroker& broker) {
  broker->give_backing(64 * mib);
  demand(broker->evict_to(0), "the program's memory leaves");
  demand(broker->restore(), "the program's memory comes back");
}

}  // namespace

TEST_CASE("a program that closes all descriptors is paused, moved and brought back as before") {
  OtherBroker broker;
  Program program(role("close-everything"), Preload::yes);
  demand(program.line() == "ready" && comes_true([&] { return broker->attached(); }), "the program is managed");
  program.release();
  demand(program.line() == "closed", "the program has closed all descriptors");
  move_memory(broker);
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "it is paused");
  const std::uint64_t wants = broker->up().wants.load();
  program.release();
  demand(comes_true([&] { return broker->up().wants.load() > wants; }), "it waits at the gate");
  broker->gate(GateState::open);
  demand(program.wait(10) == 0, "its memory is as it was, and its descriptors are its own");
}

TEST_CASE("a program that becomes another by exec is that one to the next broker, and nobody to the last") {
  FakeBroker next;
  name_the_next();
  OtherBroker broker;
  Program program(role("become-another"), Preload::yes);
  demand(program.line() == "ready" && comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "it is paused");
  program.release();
  demand(program.line() == "ready" && comes_true([&] { return next.attached(); }), "what it became is managed anew");
  demand(comes_true([&] { return next.up().needed.load() == 8 * mib; }), "with the memory it has made");
  demand(comes_true([&] { return broker->hung_up(); }), "the first broker hears of the end");
  program.release();
  demand(program.wait(10) == 0, "it ends well");
}

TEST_CASE("threads that retain and release the primary context by turns keep what they have allocated in it") {
  OtherBroker broker;
  Program program(role("primary-by-turns"), Preload::yes);
  demand(program.wait(60) == 0, "no thread finds its memory gone");
}

TEST_CASE("a program started by a paused one, as multiprocessing does, is managed apart and does not wait") {
  FakeBroker next;
  name_the_next();
  OtherBroker broker;
  Program program(role("start-another"), Preload::yes);
  demand(program.line() == "ready" && comes_true([&] { return broker->attached(); }), "the program is managed");
  broker->gate(GateState::closed);
  demand(broker->reaches(Phase::drained), "it is paused");
  program.release();
  demand(program.line() == "ready" && comes_true([&] { return next.attached(); }), "its child is managed apart");
  program.release();
  demand(program.line() == "child ended well", "its child works while it is paused itself");
  demand(program.wait(10) == 0, "it ends well");
}

TEST_CASE("a child's child that outlives its parent is no client and does not wait") {
  CUdeviceptr memory = 0;
  (void)context();
  OK(cuMemAlloc_v2(&memory, mib));
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is paused");
  const std::uint64_t wants = broker().up().wants.load();
  int said[2];
  demand(::pipe(said) == 0, "a pipe can be made");
  const pid_t child = ::fork();
  if (child == 0) {
    if (::fork() != 0) ::_exit(0);
    ::alarm(10);
    const bool refused = cuMemsetD8_v2(memory, 1, 16) != CUDA_SUCCESS;
    const char answer = alone() && refused ? 'y' : 'n';
    (void)!::write(said[1], &answer, 1);
    ::_exit(0);
  }
  ::close(said[1]);
  int status = -1;
  demand(::waitpid(child, &status, 0) == child, "the child ends");
  char answer = 0;
  demand(::read(said[0], &answer, 1) == 1 && answer == 'y', "its child does not wait at the gate");
  ::close(said[0]);
  demand(broker().up().wants.load() == wants, "the broker hears of neither");
  broker().gate(GateState::open);
  OK(cuMemFree_v2(memory));
}

TEST_CASE("children forked while threads allocate, free and submit never hang") {
  (void)context();
  std::atomic<bool> stop{false};
  std::vector<std::thread> busy;
  for (unsigned i = 0; i < 3; ++i)
    busy.emplace_back([&] {
      OK(cuCtxSetCurrent(context()));
      while (!stop) {
        CUdeviceptr at = 0;
        OK(cuMemAlloc_v2(&at, 4 * mib));
        OK(cuMemsetD8_v2(at, 1, 16));
        OK(cuMemFree_v2(at));
      }
    });
  for (unsigned i = 0; i < 40; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(10);
      CUdeviceptr at = 0;
      std::size_t free = 0, total = 0;
      (void)cuMemAlloc_v2(&at, mib);
      (void)cuMemGetInfo_v2(&free, &total);
      (void)cuMemFree_v2(at);
      ::_exit(0);
    }
    int status = -1;
    demand(::waitpid(child, &status, 0) == child && WIFEXITED(status), "no lock of the shim's is held in a child");
  }
  stop = true;
  for (auto& thread : busy) thread.join();
}

}  // namespace lull::hazards
