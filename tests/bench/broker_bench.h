// tests/bench/broker_bench.h: the parts of the broker suite.
#pragma once
#include <cstddef>
#include <vector>

namespace lull::bench {

// Of one decide() after a change.
double decide_median_us(std::size_t clients, unsigned calls);

// Microseconds from the write to an eventfd until a real-time thread that slept on it has stored a word: of lulld from
// a client's doorbell to another client's gate, and of a thread that does nothing else. The two by turns, a spinning
// process on every processor. Empty: this machine cannot tell.
struct GateTimes {
  std::vector<double> gate, wake;
};
GateTimes gate_times_us(unsigned samples);

// Of a lulld with so many clients, after the first: resident memory without arenas, the two pages included.
double bytes_per_client(unsigned clients);

// Share of one processor that it takes with clients that do nothing, in percent.
double idle_cpu_percent(unsigned clients, unsigned seconds);

}  // namespace lull::bench
