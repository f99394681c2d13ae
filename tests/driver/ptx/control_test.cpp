// Threads that part and meet: branches, loops, barriers, and kernels that do not end by themselves.

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

using u32 = std::uint32_t;

// Every kernel here starts like this: %r0 the global thread number, %out its word of the result.
std::string kernel(std::string_view body) {
  return ".visible .entry k(.param .u64 out_, .param .u64 in_)\n{\n"
         "  .reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>, %out, %in;\n"
         "  ld.param.u64 %out, [out_];\n  ld.param.u64 %in, [in_];\n"
         "  mov.u32 %r0, %ctaid.x;\n  mov.u32 %r1, %ntid.x;\n  mov.u32 %r2, %tid.x;\n  mad.lo.u32 %r0, %r0, %r1, %r2;\n"
         "  mul.wide.u32 %rd0, %r0, 4;\n  add.u64 %out, %out, %rd0;\n" +
         std::string(body) + "\n}\n";
}

std::vector<u32> results_of(std::string_view body, unsigned blocks, unsigned threads, const void* in = nullptr) {
  std::vector<u32> out(blocks * threads, 0xFFFFFFFFU);
  REQUIRE(run_text(kernel(body), blocks, threads, out.data(), in) == Outcome::ok);
  return out;
}

TEST_CASE("lanes that take different sides of a branch meet again") {
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 3;
    setp.eq.u32 %p1, %r3, 1;
    setp.gt.u32 %p2, %r3, 1;
    @%p1 bra one;
    @%p2 bra two;
    mov.u32 %r4, 10;
    bra join;
  two:
    mul.lo.u32 %r4, %r3, 100;
    bra join;
  one:
    mov.u32 %r4, 7;
  join:
    add.u32 %r4, %r4, %r0;
    st.global.u32 [%out], %r4;
  )",
                              3, 200);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == i + (i % 4 == 0 ? 10 : i % 4 == 1 ? 7 : i % 4 * 100));
}

TEST_CASE("every lane leaves a loop after its own number of rounds") {
  const auto out = results_of(R"(
    mul.lo.u32 %r3, %r0, 37;
    rem.u32 %r3, %r3, 23;
    mov.u32 %r4, 0;
    mov.u32 %r5, 0;
  loop:
    setp.ge.u32 %p1, %r5, %r3;
    @%p1 bra done;
    mad.lo.u32 %r4, %r5, %r5, %r4;
    add.u32 %r5, %r5, 1;
    bra loop;
  done:
    st.global.u32 [%out], %r4;
  )",
                              2, 300);
  for (u32 i = 0; i < out.size(); ++i) {
    u32 expected = 0;
    for (u32 k = 0; k < i * 37 % 23; ++k) expected += k * k;
    CHECK(out[i] == expected);
  }
}

TEST_CASE("nested loops with bounds of their own and an early way out") {
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 7;
    mov.u32 %r4, 0;
    mov.u32 %r5, 0;
  outer:
    setp.gt.u32 %p1, %r5, %r3;
    @%p1 bra done;
    mov.u32 %r6, 0;
  inner:
    setp.ge.u32 %p2, %r6, %r5;
    @%p2 bra next;
    add.u32 %r4, %r4, 1;
    add.u32 %r6, %r6, 1;
    setp.eq.u32 %p3, %r4, 15;
    @%p3 bra done;
    bra inner;
  next:
    add.u32 %r5, %r5, 1;
    bra outer;
  done:
    st.global.u32 [%out], %r4;
  )",
                              1, 128);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == std::min(15U, (i % 8) * (i % 8 + 1) / 2));
}

TEST_CASE("lanes that exit early leave the others alone") {
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 1;
    setp.ne.u32 %p1, %r3, 0;
    @%p1 exit;
    setp.gt.u32 %p2, %r0, 100;
    @!%p2 bra store;
    ret;
  store:
    st.global.u32 [%out], %r0;
  )",
                              1, 256);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == (i % 2 == 0 && i <= 100 ? i : 0xFFFFFFFFU));
}

TEST_CASE("a guard that its own instruction overwrites is read before") {
  const auto out = results_of(R"(
    setp.lt.u32 %p1, %r0, 64;
    setp.lt.u32 %p2, %r0, 64;
    @%p1 setp.ge.u32 %p1|%p3, %r0, 32;
    @%p2 setp.ge.u32 %p4|%p2, %r0, 32;
    selp.u32 %r3, 1, 0, %p1;
    selp.u32 %r4, 2, 0, %p3;
    selp.u32 %r5, 4, 0, %p4;
    selp.u32 %r6, 8, 0, %p2;
    or.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5; or.b32 %r3, %r3, %r6;
    st.global.u32 [%out], %r3;
  )",
                              1, 128);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == (i < 32 ? 2 + 8 : i < 64 ? 1 + 4 : 0));
}

TEST_CASE("thread and block numbers in three dimensions") {
  const Module module = module_of(kernel(R"(
    mov.u32 %r3, %tid.x; mov.u32 %r4, %tid.y; mov.u32 %r5, %tid.z;
    mov.u32 %r6, %ntid.x; mov.u32 %r7, %ntid.y; mov.u32 %r8, %ntid.z;
    mov.u32 %r9, %ctaid.x; mov.u32 %r10, %ctaid.y; mov.u32 %r11, %ctaid.z;
    mov.u32 %r12, %nctaid.x; mov.u32 %r13, %nctaid.y;
    mad.lo.u32 %r14, %r5, %r7, %r4; mad.lo.u32 %r14, %r14, %r6, %r3;
    mad.lo.u32 %r15, %r11, %r13, %r10; mad.lo.u32 %r15, %r15, %r12, %r9;
    mul.lo.u32 %r16, %r6, %r7; mul.lo.u32 %r16, %r16, %r8;
    mad.lo.u32 %r17, %r15, %r16, %r14;
    ld.param.u64 %out, [out_]; mul.wide.u32 %rd1, %r17, 4; add.u64 %out, %out, %rd1;
    mov.u32 %r18, %laneid; mov.u32 %r19, %warpid; mad.lo.u32 %r18, %r19, 32, %r18; mad.lo.u32 %r18, %r15, 1000, %r18;
    st.global.u32 [%out], %r18;
  )"));
  constexpr u32 kThreads = 7 * 5 * 4, kBlocks = 3 * 2 * 2;
  std::vector<u32> out(kThreads * kBlocks);
  const Arguments flat(out.data(), out.data());
  REQUIRE(run(module, module.kernels[0], {.grid = {3, 2, 2}, .block = {7, 5, 4}, .parameters = flat.data()}) ==
          Outcome::ok);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == i / kThreads * 1000 + i % kThreads);
}

constexpr std::string_view kReduce = R"(
    .shared .align 4 .b32 partial[1024];
    mov.u32 %r3, partial;
    shl.b32 %r4, %r2, 2;
    add.u32 %r3, %r3, %r4;
    mul.lo.u32 %r5, %r0, %r0;
    st.shared.u32 [%r3], %r5;
    mov.u32 %r6, 512;
  round:
    bar.sync 0;
    add.u32 %r7, %r2, %r6;
    setp.ge.u32 %p1, %r2, %r6;
    setp.ge.or.u32 %p1, %r7, %r1, %p1;
    @%p1 bra skip;
    shl.b32 %r8, %r6, 2;
    add.u32 %r8, %r8, %r3;
    ld.shared.u32 %r9, [%r8];
    ld.shared.u32 %r10, [%r3];
    add.u32 %r10, %r10, %r9;
    st.shared.u32 [%r3], %r10;
  skip:
    shr.u32 %r6, %r6, 1;
    setp.ne.u32 %p2, %r6, 0;
    @%p2 bra round;
    bar.sync 0;
    ld.shared.u32 %r11, [partial];
    st.global.u32 [%out], %r11;
)";

TEST_CASE("a block of any size sums in shared memory, with a barrier each round") {
  for (const unsigned threads : {1U, 31U, 32U, 100U, 128U, 129U, 300U, 777U, 1024U}) {
    CAPTURE(threads);
    const auto out = results_of(kReduce, 3, threads);
    for (u32 i = 0; i < out.size(); ++i) {
      u32 expected = 0;
      for (u32 k = i / threads * threads; k < (i / threads + 1) * threads; ++k) expected += k * k;
      REQUIRE(out[i] == expected);
    }
  }
}

TEST_CASE("a barrier does not wait for threads that have ended") {
  const auto out = results_of(R"(
    setp.ge.u32 %p1, %r2, 150;
    @%p1 ret;
    bar.sync 3;
    st.global.u32 [%out], %r0;
  )",
                              1, 400);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == (i < 150 ? i : 0xFFFFFFFFU));
}

TEST_CASE("a barrier may count fewer threads than the block has") {
  // Two halves, each with a barrier of its own, pass a value from its last warp to its first.
  const auto out = results_of(R"(
    .shared .b32 box[2];
    setp.ge.u32 %p1, %r2, 256;
    @%p1 bra second;
    setp.eq.u32 %p2, %r2, 255;
    @%p2 st.shared.u32 [box], 111;
    bar.sync 1, 256;
    ld.shared.u32 %r3, [box];
    bra store;
  second:
    setp.eq.u32 %p2, %r2, 511;
    @%p2 st.shared.u32 [box+4], 222;
    bar.sync 2, 256;
    ld.shared.u32 %r3, [box+4];
  store:
    st.global.u32 [%out], %r3;
  )",
                              2, 512);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == (i % 512 < 256 ? 111 : 222));
}

TEST_CASE("lanes of a warp that reach a barrier on different ways pass it together") {
  const auto out = results_of(R"(
    .shared .b32 box;
    setp.eq.u32 %p1, %r2, 5;
    @%p1 bra writer;
    bar.sync 0;
    ld.shared.u32 %r3, [box];
    bra store;
  writer:
    st.shared.u32 [box], 99;
    mov.u32 %r3, 1;
    bar.sync 0;
  store:
    st.global.u32 [%out], %r3;
  )",
                              1, 160);
  for (u32 i = 0; i < out.size(); ++i) CHECK(out[i] == (i == 5 ? 1 : 99));
}

TEST_CASE("a lock taken within a warp is handed on") {
  u32 lock = 0;
  u32 shared_by_all[2] = {0, 0};
  std::vector<u32> out(256);
  const void* const places[] = {&lock, &shared_by_all};
  const auto body = kernel(R"(
    ld.global.u64 %rd1, [%in];
    ld.global.u64 %rd2, [%in+8];
  retry:
    atom.global.cas.b32 %r3, [%rd1], 0, 1;
    setp.ne.u32 %p1, %r3, 0;
    @%p1 bra retry;
    ld.global.u32 %r4, [%rd2];
    add.u32 %r4, %r4, 1;
    st.global.u32 [%rd2], %r4;
    atom.global.exch.b32 %r5, [%rd1], 0;
    st.global.u32 [%out], %r4;
  )");
  REQUIRE(run_text(body, 1, 256, out.data(), &places) == Outcome::ok);
  CHECK(shared_by_all[0] == 256);
  CHECK(lock == 0);
}

TEST_CASE("a thread that waits for a later one of its block sees it come") {
  const auto out = results_of(R"(
    .shared .b32 flag;
    setp.eq.u32 %p1, %r2, 1023;
    @%p1 st.volatile.shared.u32 [flag], 42;
  wait:
    ld.volatile.shared.u32 %r3, [flag];
    setp.eq.u32 %p2, %r3, 0;
    @%p2 bra wait;
    st.global.u32 [%out], %r3;
  )",
                              1, 1024);
  for (const u32 value : out) CHECK(value == 42);
}

TEST_CASE("a barrier that cannot be completed is a deadlock, not a hang") {
  std::vector<u32> out(64);
  CHECK(run_text(kernel("setp.lt.u32 %p1, %r2, 32;\n @%p1 bra a;\n bar.sync 1;\n ret;\n a: bar.sync 2;"), 1, 64,
                 out.data(), nullptr) == Outcome::deadlock);
  CHECK(run_text(kernel("bar.sync 1, 96;"), 1, 64, out.data(), nullptr) == Outcome::deadlock);
}

constexpr std::string_view kEndless =
    "loop: ld.volatile.global.u32 %r3, [%out];\n setp.ne.u32 %p1, %r3, 77;\n @%p1 bra loop;";

TEST_CASE("an endless kernel ends when it is stopped") {
  const Module module = module_of(kernel(kEndless));
  std::vector<u32> out(256);
  const Arguments flat(out.data(), out.data());
  std::atomic<bool> stop{false};
  std::atomic<bool> ended{false};
  Outcome outcome = Outcome::ok;
  std::thread device([&] {
    outcome = run(module, module.kernels[0], {.block = {256, 1, 1}, .parameters = flat.data(), .stop = &stop});
    ended = true;
  });
  CHECK_FALSE(ended.load());
  stop = true;
  device.join();
  CHECK(outcome == Outcome::stopped);
}

TEST_CASE("a kernel that spins on a flag goes on when the host sets it") {
  const Module module = module_of(kernel(kEndless));
  std::vector<u32> out(32);
  const Arguments flat(out.data(), out.data());
  Outcome outcome = Outcome::invalid;
  std::thread device([&] {
    outcome = run(module, module.kernels[0], {.block = {32, 1, 1}, .parameters = flat.data()});
  });
  for (u32& word : out) std::atomic_ref(word).store(77, std::memory_order_release);
  device.join();
  CHECK(outcome == Outcome::ok);
}

TEST_CASE("the instruction budget ends loops and long launches, and is counted in thread instructions") {
  const Module module = module_of(kernel(kEndless));
  std::vector<u32> out(64);
  const Arguments flat(out.data(), out.data());
  std::uint64_t executed = 0;
  Launch launch{.block = {64, 1, 1}, .parameters = flat.data(), .instruction_budget = 1'000'000, .executed = &executed};
  CHECK(run(module, module.kernels[0], launch) == Outcome::budget_exceeded);
  CHECK(executed > 1'000'000);
  CHECK(executed <= 1'000'000 + 64 * 12);  // at most once more around the loop

  const Module straight = module_of(".entry k { .reg .b32 %r; mov.u32 %r, 1; mov.u32 %r, 2; ret; }");
  CHECK(run(straight, straight.kernels[0], {.grid = {10, 1, 1}, .block = {100, 1, 1}, .executed = &executed}) ==
        Outcome::ok);
  CHECK(executed == 3 * 10 * 100);
  launch = {.grid = {10, 1, 1}, .block = {100, 1, 1}, .instruction_budget = 1000, .executed = &executed};
  CHECK(run(straight, straight.kernels[0], launch) == Outcome::budget_exceeded);
  CHECK(executed == 1200);  // blocks run whole
}

TEST_CASE("a kernel lasts as long as it waits for the global timer") {
  constexpr std::uint64_t kWait_ns = 3'000'000;
  const std::string text = R"(.entry k(.param .u64 wait) {
    .reg .pred %p; .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [wait]; mov.u64 %rd2, %globaltimer;
  spin: nanosleep.u32 1000; mov.u64 %rd3, %globaltimer; sub.u64 %rd4, %rd3, %rd2; setp.lt.u64 %p, %rd4, %rd1; @%p bra spin; ret; })";
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(run_text(text, 1, 32, kWait_ns) == Outcome::ok);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::nanoseconds(kWait_ns));
}

// Every thread counts itself in; then the first thread of each block waits until all blocks of the grid have.
constexpr std::string_view kGridBarrier = R"(
  ld.global.u32 %r9, [%in+4];
  atom.global.add.u32 %r3, [%in], 1;
  bar.sync 0;
  setp.ne.u32 %p1, %r0, 0;
  @%p1 bra wait;
spin: ld.volatile.global.u32 %r4, [%in];
  setp.lt.u32 %p2, %r4, %r9;
  @%p2 bra spin;
wait: bar.sync 0;
  ld.volatile.global.u32 %r5, [%in];
  st.global.u32 [%out], %r5;)";

TEST_CASE("the blocks of a cooperative launch are resident together and wait for each other") {
  const Module module = module_of(kernel(kGridBarrier));
  constexpr unsigned kBlocks = 40, kThreads = 160;
  std::array<u32, 2> arrived{0, kBlocks * kThreads};
  std::vector<u32> out(5 * kThreads);
  const Arguments flat(out.data(), arrived.data());
  Launch launch{.grid = {5, 4, 2}, .block = {kThreads, 1, 1}, .cooperative = true, .parameters = flat.data()};
  CHECK(run(module, module.kernels[0], launch) == Outcome::ok);
  for (const u32 seen : out) CHECK(seen == kBlocks * kThreads);

  arrived[0] = 0;
  launch.cooperative = false;
  launch.instruction_budget = 1'000'000;
  CHECK(run(module, module.kernels[0], launch) == Outcome::budget_exceeded);
}

TEST_CASE("a cooperative launch has one budget, one stop, and at most as many blocks as a card holds") {
  const Module module = module_of(kernel(kEndless));
  std::vector<u32> out(4 * 64);
  const Arguments flat(out.data(), out.data());
  std::uint64_t executed = 0;
  Launch launch{.grid = {4, 1, 1},
                .block = {64, 1, 1},
                .cooperative = true,
                .parameters = flat.data(),
                .instruction_budget = 5'000'000,
                .executed = &executed};
  CHECK(run(module, module.kernels[0], launch) == Outcome::budget_exceeded);
  CHECK(executed > 5'000'000);
  CHECK(executed <= 5'000'000 + 64 * 12);
  const std::atomic<bool> stop{true};
  launch.stop = &stop;
  CHECK(run(module, module.kernels[0], launch) == Outcome::stopped);
  launch.grid = {static_cast<unsigned>(kResidentLimit) + 1, 1, 1};
  CHECK(run(module, module.kernels[0], launch) == Outcome::invalid);
}

TEST_CASE("trap ends the launch") {
  std::vector<u32> out(64);
  CHECK(run_text(kernel("setp.eq.u32 %p1, %r0, 33;\n @%p1 trap;"), 1, 64, out.data(), nullptr) == Outcome::trap);
  CHECK(run_text(kernel("setp.eq.u32 %p1, %r0, 99;\n @%p1 trap;"), 1, 64, out.data(), nullptr) == Outcome::ok);
}

TEST_CASE("launches that no device would take are invalid") {
  const Module module = module_of(
      ".global .u32 word; .entry k(.param .u32 n) .maxntid 128 { .shared .b8 s[1024]; .reg .b32 %r; mov.u32 %r, s; "
      "ret; }");
  const Arguments flat(std::uint32_t{1});
  std::array<std::byte, 4> word{};
  std::byte* const addresses[] = {word.data()};
  const Launch good{
      .grid = {1, 1, 1}, .block = {128, 1, 1}, .parameters = flat.data(), .variable_addresses = addresses};
  const auto outcome_with = [&](auto change) {
    Launch launch = good;
    change(launch);
    return run(module, module.kernels[0], launch);
  };
  CHECK(outcome_with([](Launch&) {}) == Outcome::ok);
  CHECK(outcome_with([](Launch& l) { l.grid[2] = 0; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.block[1] = 0; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.block[1] = 2; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.block = {1U << 16, 1U << 16, 1}; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.grid[1] = 65536; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.dynamic_shared = 227 * 1024; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.parameters = nullptr; }) == Outcome::invalid);
  CHECK(outcome_with([](Launch& l) { l.variable_addresses = {}; }) == Outcome::invalid);
}

}  // namespace
}  // namespace lull::ptx::test
