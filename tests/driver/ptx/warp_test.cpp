// What the threads of a warp tell each other, and when they wait for each other.

#include <bit>

#include "tests/driver/ptx/test_machine.h"

namespace lull::ptx::test {
namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr unsigned kThreads = 160;  // a gang and a warp

// %r0 the thread, %r1 its word of `in`; what the body leaves in %r2 becomes its word of the result.
std::vector<u32> results_of(std::string_view body, const std::vector<u32>& in, Outcome want = Outcome::ok) {
  const std::string text =
      ".visible .entry k(.param .u64 out_, .param .u64 in_)\n{\n"
      "  .reg .pred %p<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>;\n"
      "  mov.u32 %r0, %tid.x;\n  mul.wide.u32 %rd0, %r0, 4;\n  ld.param.u64 %rd1, [in_];\n  add.u64 %rd1, %rd1, %rd0;\n"
      "  ld.global.u32 %r1, [%rd1];\n  mov.u32 %r2, 0xDEADBEEF;\n" +
      std::string(body) +
      "\n  ld.param.u64 %rd2, [out_];\n  add.u64 %rd2, %rd2, %rd0;\n  st.global.u32 [%rd2], %r2;\n  ret;\n}\n";
  std::vector<u32> out(kThreads);
  REQUIRE(run_text(text, 1, kThreads, out.data(), in.data()) == want);
  return out;
}

std::vector<u32> thread_squares() {
  std::vector<u32> out(kThreads);
  for (u32 i = 0; i < kThreads; ++i) out[i] = i * i + 1;
  return out;
}

TEST_CASE("shfl.sync.up reads from a lower lane, and its own value below the segment") {
  const auto in = thread_squares(), out = results_of("shfl.sync.up.b32 %r2, %r1, 3, 0, -1;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == in[i % 32 >= 3 ? i - 3 : i]);
}

TEST_CASE("shfl.sync.down reads from a higher lane of the segment that the mask in c names") {
  // Segments of 8 lanes: c = (32 - 8) << 8 | 31
  const auto in = thread_squares(), out = results_of("shfl.sync.down.b32 %r2, %r1, 2, 0x181F, -1;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == in[i % 8 < 6 ? i + 2 : i]);
}

TEST_CASE("shfl.sync.bfly swaps lanes by the bits of b") {
  const auto in = thread_squares(), out = results_of("shfl.sync.bfly.b32 %r2, %r1, 5, 31, 0xFFFFFFFF;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == in[i ^ 5]);
}

TEST_CASE("shfl.sync.idx reads any lane by number, each thread its own, and may overwrite its operand") {
  const auto in = thread_squares();
  const auto out =
      results_of("mov.u32 %r2, %r1; mad.lo.u32 %r3, %r0, 7, 1; shfl.sync.idx.b32 %r2, %r2, %r3, 31, -1;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == in[i / 32 * 32 + (i * 7 + 1) % 32]);
}

TEST_CASE("the predicate of shfl.sync says whether the source lane is within the segment") {
  const auto in = thread_squares();
  const auto out = results_of("shfl.sync.down.b32 %r3|%p1, %r1, 30, 31, -1; selp.u32 %r2, 1, 0, %p1;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i % 32 < 2 ? 1 : 0));
}

TEST_CASE("a sum over a warp by five shuffles") {
  const auto in = thread_squares();
  std::string body = "mov.u32 %r2, %r1;\n";
  for (const char* step : {"16", "8", "4", "2", "1"})
    body += std::string("shfl.sync.bfly.b32 %r3, %r2, ") + step + ", 31, -1; add.u32 %r2, %r2, %r3;\n";
  const auto out = results_of(body, in);
  for (u32 i = 0; i < kThreads; ++i) {
    u32 sum = 0;
    for (u32 lane = 0; lane < 32; ++lane) sum += in[i / 32 * 32 + lane];
    CHECK(out[i] == sum);
  }
}

std::vector<u32> ballots(const std::vector<u32>& in, u32 threshold) {
  std::vector<u32> out(kThreads / 32);
  for (u32 i = 0; i < kThreads; ++i) out[i / 32] |= (in[i] < threshold ? 1U : 0U) << i % 32;
  return out;
}

TEST_CASE("vote.sync.ballot collects a bit of every lane of the warp") {
  const auto in = thread_squares();
  const auto out = results_of("setp.lt.u32 %p1, %r1, 500; vote.sync.ballot.b32 %r2, %p1, -1;", in),
             want = ballots(in, 500);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == want[i / 32]);
  const auto negated = results_of("setp.lt.u32 %p1, %r1, 500; vote.sync.ballot.b32 %r2, !%p1, -1;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(negated[i] == ~want[i / 32]);
}

TEST_CASE("vote.sync.all, any and uni answer for the warp") {
  const auto in = thread_squares();
  const auto want = ballots(in, 1500);
  const auto voted = [&](const std::string& mode) {
    return results_of("setp.lt.u32 %p1, %r1, 1500; vote.sync." + mode + ".pred %p2, %p1, -1; selp.u32 %r2, 1, 0, %p2;",
                      in);
  };
  const auto all = voted("all"), any = voted("any"), uniform = voted("uni");
  for (u32 i = 0; i < kThreads; ++i) {
    const u32 ballot = want[i / 32];
    CHECK(all[i] == (ballot == ~0U ? 1 : 0));
    CHECK(any[i] == (ballot != 0 ? 1 : 0));
    CHECK(uniform[i] == (ballot == 0 || ballot == ~0U ? 1 : 0));
  }
}

TEST_CASE("lanes on both sides of a branch vote among themselves by their own masks") {
  const auto in = thread_squares();
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 1; setp.ne.u32 %p1, %r3, 0; setp.lt.u32 %p2, %r1, 500;
    @%p1 bra odd;
    vote.sync.ballot.b32 %r2, %p2, 0x55555555; bra done;
  odd: vote.sync.ballot.b32 %r2, %p2, 0xAAAAAAAA;
  done:)",
                              in);
  const auto want = ballots(in, 500);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (want[i / 32] & (i % 2 != 0 ? 0xAAAAAAAAU : 0x55555555U)));
}

TEST_CASE("a .sync instruction waits for the lanes of its mask that come by another way") {
  const auto in = thread_squares();
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 3; mov.u32 %r4, 0;
  loop: add.u32 %r4, %r4, 1; setp.le.u32 %p1, %r4, %r3; @%p1 bra loop;
    shfl.sync.idx.b32 %r2, %r4, 3, 31, -1;)",
                              in);
  for (const u32 rounds : out) CHECK(rounds == 4);
}

TEST_CASE("lanes that have ended are not waited for") {
  const auto in = thread_squares();
  const auto out = results_of(R"(
    and.b32 %r3, %r0, 1; setp.ne.u32 %p1, %r3, 0; mov.u32 %r4, 0; @!%p1 bra meet;
  loop: add.u32 %r4, %r4, 1; setp.le.u32 %p2, %r4, 50; @%p2 bra loop;
    exit;
  meet: setp.ne.u32 %p3, %r0, 999; vote.sync.ballot.b32 %r2, %p3, -1;)",
                              in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i % 2 == 0 ? 0x55555555 : 0));
}

TEST_CASE("a lane that its mask names and that never comes is a deadlock, as on a GPU") {
  const auto in = thread_squares();
  (void)results_of(R"(
    setp.ne.u32 %p1, %r0, 0; @%p1 bra other;
    vote.sync.ballot.b32 %r2, %p1, -1; bra done;
  other: bar.sync 0;
  done:)",
                   in, Outcome::deadlock);
}

TEST_CASE("a .sync instruction under a guard waits only for the lanes whose guard is true") {
  const auto in = thread_squares();
  const auto out = results_of(
      "and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 0; @%p1 shfl.sync.idx.b32 %r2, %r1, 2, 31, 0x55555555;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i % 2 == 0 ? in[i / 32 * 32 + 2] : 0xDEADBEEF));
}

TEST_CASE("activemask names the lanes that are here") {
  const auto in = thread_squares();
  const auto out = results_of("setp.lt.u32 %p1, %r0, 40; @%p1 activemask.b32 %r2;", in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i < 32 ? ~0U : i < 40 ? 0xFFU : 0xDEADBEEF));
}

TEST_CASE("match.any.sync names the lanes with the same value, match.all.sync says whether all have it") {
  std::vector<u32> in(kThreads);
  for (u32 i = 0; i < kThreads; ++i) in[i] = i < 64 ? 7 : i % 5;
  const auto any = results_of("match.any.sync.b32 %r2, %r1, -1;", in);
  const auto all =
      results_of("cvt.u64.u32 %rd5, %r1; match.all.sync.b64 %r3|%p1, %rd5, -1; selp.u32 %r2, %r3, 1, %p1;", in);
  for (u32 i = 0; i < kThreads; ++i) {
    u32 same = 0;
    for (u32 lane = 0; lane < 32; ++lane) same |= (in[i / 32 * 32 + lane] == in[i] ? 1U : 0U) << lane;
    CHECK(any[i] == same);
    CHECK(all[i] == (i < 64 ? ~0U : 1));
  }
}

TEST_CASE("redux.sync reduces over the warp") {
  const auto in = thread_squares();
  const auto folded = [&](std::string_view name, u32 start, auto fold) {
    const auto out = results_of("redux.sync." + std::string(name) + " %r2, %r1, -1;", in);
    for (u32 warp = 0; warp < kThreads / 32; ++warp) {
      u32 want = start;
      for (u32 lane = 0; lane < 32; ++lane) want = fold(want, in[warp * 32 + lane]);
      for (u32 lane = 0; lane < 32; ++lane) CHECK(out[warp * 32 + lane] == want);
    }
  };
  folded("add.s32", 0, [](u32 a, u32 b) { return a + b; });
  folded("min.u32", ~0U, [](u32 a, u32 b) { return std::min(a, b); });
  folded("max.u32", 0, [](u32 a, u32 b) { return std::max(a, b); });
  folded("and.b32", ~0U, [](u32 a, u32 b) { return a & b; });
  folded("or.b32", 0, [](u32 a, u32 b) { return a | b; });
  folded("xor.b32", 0, [](u32 a, u32 b) { return a ^ b; });
}

TEST_CASE("bar.warp.sync orders what lanes of a warp write to shared memory") {
  const auto in = thread_squares();
  const auto out = results_of(R"(
    .shared .b32 s[160]; mov.u32 %r5, s; mad.lo.u32 %r6, %r0, 4, %r5;
    and.b32 %r3, %r0, 1; setp.ne.u32 %p1, %r3, 0;
    @%p1 st.volatile.shared.u32 [%r6], %r1; @%p1 bra meet;
    shl.b32 %r7, %r1, 1; st.volatile.shared.u32 [%r6], %r7;
  meet: bar.warp.sync -1;
    xor.b32 %r8, %r0, 1; mad.lo.u32 %r8, %r8, 4, %r5; ld.volatile.shared.u32 %r2, [%r8];)",
                              in);
  for (u32 i = 0; i < kThreads; ++i) CHECK(out[i] == (i % 2 == 0 ? in[i + 1] : in[i - 1] * 2));
}

TEST_CASE("shuffles and votes without .sync ended with sm_70, which the error says") {
  for (const std::string_view form : {"shfl.down.b32 %r1, %r1, 1, 31;", "vote.all.pred %p, %p;"}) {
    const auto parsed =
        parse(std::string(kHeader) + ".entry k { .reg .b32 %r1; .reg .pred %p;\n" + std::string(form) + "}");
    const auto* const error = std::get_if<Error>(&parsed);
    REQUIRE(error != nullptr);
    CHECK(error->message.find("needs .sync and a member mask since sm_70") != std::string::npos);
    CHECK(error->line == 5);
  }
}

}  // namespace
}  // namespace lull::ptx::test
