// A program that dies in the middle of a movement leaves the card and its broker as if it had never been there.
#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

// The program has filled its memory, and is prepared to be evicted into `arena`.
void await_prepared(FakeBroker& its_broker, const Program& program, const SharedMemory& arena) {
  REQUIRE(comes_true([&] { return its_broker.attached() && its_broker.up().submissions.load() > 0; }));
  its_broker.give_arena(arena, held_bytes, 1);
  const Since began = Since::all_of(program.pid());
  REQUIRE(comes_true([&] { return began.count("cuMemHostGetDevicePointer_v2") == 1; }));
}

void check_killed(Program& program) {
  int status = 0;
  REQUIRE(program.ends(10, status));
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGKILL);
  CHECK(comes_true([] { return free_on_card() == total_of_card(); }));
}

// Every chunk of what the program holds lies somewhere in its arena.
bool holds_all(const SharedMemory& arena) {
  const auto words = held_words();
  const auto* kept = arena.mapping.as<const char>();
  for (std::size_t at = 0; at < held_bytes; at += chunk) {
    bool found = false;
    for (std::size_t place = 0; place < held_bytes && !found; place += chunk)
      found = std::memcmp(kept + place, reinterpret_cast<const char*>(words.data()) + at, chunk) == 0;
    if (!found) return false;
  }
  return true;
}

SharedMemory make_arena() {
  auto made = make_shared_memory("lull-test-arena", held_bytes, Writers::everyone);
  REQUIRE(static_cast<bool>(made));
  return std::move(*made);
}

}  // namespace

ALONE("a program killed in an eviction gives its memory back, and its arena serves the next one", "LULL=off") {
  const SharedMemory arena = make_arena();
  for (const char* when : {"cuLaunchKernel:2", "cuMemcpyDtoHAsync_v2:1", "cuMemcpyDtoHAsync_v2:4",
                           "cuEventSynchronize:3", "cuMemUnmap:2", "cuMemRelease:1"}) {
    CAPTURE(when);
    FakeBroker& its_broker = another_broker();
    Program program("hold", {"LULL="});
    await_prepared(its_broker, program, arena);
    its_broker.gate(GateState::closed);
    REQUIRE(its_broker.reaches(Phase::drained));
    tell_driver_of(program.pid(), std::string(when) + "=kill");
    its_broker.quota(0);
    check_killed(program);
    CHECK(static_cast<bool>(check_shared_memory(arena.fd.get(), held_bytes)));
  }
}

ALONE("a program killed in a restore gives its memory back, and what it had on the host is still there", "LULL=off") {
  for (const char* when :
       {"cuMemCreate:2", "cuMemMap:1", "cuMemSetAccess:1", "cuMemcpyHtoDAsync_v2:2", "cuEventSynchronize:2"}) {
    CAPTURE(when);
    const SharedMemory arena = make_arena();
    FakeBroker& its_broker = another_broker();
    Program program("hold", {"LULL="});
    await_prepared(its_broker, program, arena);
    REQUIRE(its_broker.evict_to(0));
    CHECK(holds_all(arena));
    tell_driver_of(program.pid(), std::string(when) + "=kill");
    its_broker.quota(no_limit);
    check_killed(program);
    CHECK(holds_all(arena));
  }
}

}  // namespace lull::residency_test
