#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

// Not a sanitizer's, which would report them and exit.
const std::vector<std::string> faults_are_its_own{"ASAN_OPTIONS=handle_segv=0", "TSAN_OPTIONS=handle_segv=0"};

}  // namespace

TEST_CASE("two processes share the capacity of one card") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  Child child("hold");
  REQUIRE_EQ(child.line(), "holding");
  CHECK_EQ(free_bytes(), alone - context_bytes - 40 * MiB);
  const auto prop = device_memory();
  CUmemGenericAllocationHandle handle = 0;
  CHECK_EQ(cuMemCreate(&handle, alone - context_bytes - 38 * MiB, &prop, 0), CUDA_ERROR_OUT_OF_MEMORY);
  child.release();
  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(free_bytes(), alone);
  handle = create(alone - context_bytes - 38 * MiB);
  OK(cuMemRelease(handle));
}

TEST_CASE("what a killed process had is given back, even before it is reaped") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  Child child("hold");
  REQUIRE_EQ(child.line(), "holding");
  child.kill();
  CHECK(eventually([&] { return free_bytes() == alone; }));
  const auto handle = create(alone);  // all of it can be had
  OK(cuMemRelease(handle));
  CHECK_EQ(WTERMSIG(child.wait()), SIGKILL);
}

TEST_CASE("a process killed at any instant of its allocations leaves the accounts right") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  for (int i = 0; i < 12; ++i) {
    Child child("churn");
    REQUIRE_EQ(child.line(), "churning");
    for (int k = 0; k < 20 * i; ++k) OK(cuMemRelease(create(granule)));  // beside it, for a while
    child.kill();
    CHECK_EQ(WTERMSIG(child.wait()), SIGKILL);
    CHECK_EQ(free_bytes(), alone);
  }
  OK(cuMemRelease(create(alone)));
}

TEST_CASE("a process that dies computing leaves the compute engine to others, and an endless kernel does not keep it") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  CUdeviceptr d = 0;
  std::uint32_t n = 1;
  OK(cuMemAlloc_v2(&d, 4));
  Child child("spin");
  REQUIRE_EQ(child.line(), "spinning");
  OK(launch(add_one, 1, nullptr, {&d, &n}));
  OK(cuCtxSynchronize());
  child.kill();
  (void)child.wait();
  OK(launch(add_one, 1, nullptr, {&d, &n}));
  OK(cuCtxSynchronize());
}

TEST_CASE("the copy engine of a direction is one for all processes") {
  const TestContext context;
  Child a("copy"), b("copy");
  REQUIRE_EQ(a.line(), "ready");
  REQUIRE_EQ(b.line(), "ready");
  a.release();
  b.release();
  REQUIRE_EQ(a.wait(), 0);
  REQUIRE_EQ(b.wait(), 0);
  auto copies = journal(Kind::copy_h2d);
  std::erase_if(copies, [&](const Record& r) {
    return r.pid != static_cast<std::uint32_t>(a.pid) && r.pid != static_cast<std::uint32_t>(b.pid);
  });
  REQUIRE_EQ(copies.size(), 2);
  CHECK(copies[1].start_ns >= copies[0].end_ns);
  CHECK_EQ(copies[0].bytes, 8 * MiB);
}

TEST_CASE("in a forked child every call answers not initialised, and the parent goes on") {
  Child child("fork");
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("a program that closes all descriptors keeps its card") {
  Child child("close-all");
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("the call that a fault names fails, and only that one") {
  ::setenv("LULL_SIM_FAULTS", "cuMemCreate:2=2", 1);
  Child child("faults");
  ::unsetenv("LULL_SIM_FAULTS");
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("a fault of the program itself still ends the program") {
  Child child("own-fault", faults_are_its_own);
  const int status = child.wait();
  REQUIRE(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

TEST_CASE("a kernel's fault is the driver's even where the program handles faults, and the program's is its own") {
  Child child("program-handler", faults_are_its_own);
  const int status = child.wait();
  const bool ended_by_it =
      (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) || (WIFEXITED(status) && WEXITSTATUS(status) == 42);
  CHECK(ended_by_it);
}

TEST_CASE("with poison on, new memory holds the poison") {
  ::setenv("LULL_SIM_POISON", "1", 1);
  Child child("poison");
  ::unsetenv("LULL_SIM_POISON");
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("two cards have memory and names of their own") {
  ::setenv("LULL_SIM_DEVICES", "2", 1);
  Child child("two-cards");
  ::unsetenv("LULL_SIM_DEVICES");
  CHECK_EQ(child.wait(), 0);
  ::unlink((std::string(::getenv("LULL_SIM_POOL")) + ".1").c_str());
}

TEST_CASE("a process that ends with work in flight ends at once") {
  Child child("exit-busy");
  REQUIRE_EQ(child.line(), "spinning");
  child.release();
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("the journal has the calls of every process with their results and sizes") {
  const TestContext context;
  Child child("hold");
  REQUIRE_EQ(child.line(), "holding");
  child.kill();
  (void)child.wait();
  const auto create_number = function_number("cuMemCreate");
  int seen = 0;
  for (const Record& r : journal(Kind::call)) {
    if (r.pid != static_cast<std::uint32_t>(child.pid) || r.function != create_number) continue;
    ++seen;
    CHECK_EQ(r.bytes, 40 * MiB);
    CHECK_EQ(r.result, CUDA_SUCCESS);
    CHECK(r.end_ns >= r.start_ns);
  }
  CHECK_EQ(seen, 1);
}

TEST_CASE("a settings value that makes no sense fails cuInit") {
  ::setenv("LULL_SIM_LINK", "fast", 1);
  Child child("hold");
  ::setenv("LULL_SIM_LINK", "1e9", 1);
  CHECK_EQ(WEXITSTATUS(child.wait()), 1);
}
