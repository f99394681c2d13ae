// tests/bench/packet_cost.h: what the ingress program adds to a packet that concerns nobody.
#pragma once

namespace lull::bench {

// Nanoseconds over a program that does nothing, by the kernel's own repetition of both; the median of several turns.
// Throws where the kernel does not run them.
double packet_cost_ns();

}  // namespace lull::bench
