#include "tests/driver/card/link.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

using namespace lull::sim;

namespace {

// A byte a nanosecond alone, half or a quarter of it beside the other direction.
Transfer transfer(std::uint64_t ready_ns, std::uint64_t bytes, double duplex = 0.5, std::uint64_t latency_ns = 0) {
  return {.ready_ns = ready_ns, .latency_ns = latency_ns, .bytes = bytes, .alone = 1, .duplex = duplex};
}
using Queue = std::vector<Transfer>;

}  // namespace

TEST_CASE("an engine alone moves its transfers back to back at its own rate, each after its latency") {
  Queue queue = {transfer(1000, 500, 0.5, 10), transfer(1100, 200, 0.5, 10), transfer(5000, 100, 0.5, 10)};
  place(queue, {});
  CHECK_EQ(queue[0].start_ns, 1000);
  CHECK_EQ(queue[0].end_ns, 1510);
  CHECK_EQ(queue[1].start_ns, 1510);
  CHECK_EQ(queue[1].end_ns, 1720);
  CHECK_EQ(queue[2].start_ns, 5000);
  CHECK_EQ(queue[2].end_ns, 5110);
}

TEST_CASE("two directions at once move at their duplex rates, and at their own again when the other is over") {
  // 500 ns alone, then 1000 ns beside the other at half rate, then 500 bytes alone.
  Queue in = {transfer(0, 1500)}, out = {transfer(500, 250, 0.25)};
  place(in, out);
  CHECK_EQ(out[0].end_ns, 1500);
  CHECK_EQ(in[0].end_ns, 2000);
}

TEST_CASE("an engine in its latency slows nobody") {
  Queue in = {transfer(0, 1000)}, out = {transfer(0, 100, 0.5, 900)};
  place(in, out);
  CHECK_EQ(in[0].end_ns, 1100);   // 900 bytes before the other moves, 100 at half rate
  CHECK_EQ(out[0].end_ns, 1100);  // 100 bytes at half rate
}

TEST_CASE("what is over stays as it was, and slows what is beside it in the time it took") {
  Queue in = {transfer(0, 1000)}, out = {transfer(200, 100)};
  in[0].over = true;
  in[0].end_ns = 1000;
  out.push_back(transfer(900, 100));
  place(in, out);
  CHECK_EQ(in[0].end_ns, 1000);
  CHECK_EQ(out[0].end_ns, 400);   // at half rate, within the other
  CHECK_EQ(out[1].end_ns, 1050);  // 50 bytes in 100 ns, 50 alone
}

TEST_CASE("a transfer of no bytes takes its latency only, and an empty pair of queues nothing") {
  Queue in = {transfer(7, 0, 0.5, 3)}, none;
  place(in, none);
  CHECK_EQ(in[0].end_ns, 10);
  place(none, none);
}

TEST_CASE("bytes are conserved: thousands of transfers both ways end when their engines have moved them all") {
  Queue in, out;
  for (std::uint64_t i = 0; i < 500; ++i) {
    in.push_back(transfer(i * 37, 100 + i % 13));
    out.push_back(transfer(i * 41, 90 + i % 17, 0.25));
  }
  place(in, out);
  double moved = 0;  // by the first engine, counted instant by instant
  std::uint64_t total = 0;
  for (const Transfer& transfer : in) total += transfer.bytes;
  for (const Transfer& a : in) {
    double shared = 0;
    for (const Transfer& b : out) {
      const auto from = std::max(a.start_ns, b.start_ns), to = std::min(a.end_ns, b.end_ns);
      if (to > from) shared += static_cast<double>(to - from);
    }
    moved += static_cast<double>(a.end_ns - a.start_ns) - shared / 2;
  }
  CHECK_EQ(moved, doctest::Approx(static_cast<double>(total)).epsilon(0.02));
}

TEST_CASE("a rate of nothing, or of no number, delays what is behind it and ends") {
  Queue in = {transfer(0, 10), transfer(0, 10)}, out = {transfer(0, 1000)};
  in[0].alone = in[0].duplex = 0;
  in[1].alone = in[1].duplex = std::numeric_limits<double>::quiet_NaN();
  place(in, out);
  CHECK_GT(in[0].end_ns, out[0].end_ns);
  CHECK_GT(in[1].end_ns, in[0].end_ns);
}
