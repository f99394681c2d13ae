// broker/scheduling.h: so that the broker runs when everybody else computes. What is not allowed is left out.
#pragma once
#include <string>

namespace lull {

// Real-time priority that children and threads do not inherit, else nice -20, else as it is. What was reached.
std::string raise_priority();
// Pages of this process that are present stay so, and those touched later; address space alone costs nothing.
bool lock_memory();
void raise_descriptor_limit();

}  // namespace lull
