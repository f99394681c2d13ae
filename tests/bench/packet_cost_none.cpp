// tests/bench/packet_cost_none.cpp: for a Lull built without BPF. Never reached: loading has failed before.
#include <stdexcept>

#include "tests/bench/packet_cost.h"

namespace lull::bench {

double packet_cost_ns() { throw std::runtime_error("built without BPF"); }

}  // namespace lull::bench
