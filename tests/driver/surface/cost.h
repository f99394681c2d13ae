// What calls cost on the card that is simulated: its profile says how long they keep their caller.
#pragma once
#include <cstdint>

namespace lull::sim {

bool has_cost(std::uint16_t function);

// Makes the caller wait for the rest of what the call costs, and tells when, by the model, it returned. Small rests
// are saved up, each thread its own, until they are worth a sleep.
std::uint64_t spend_cost(std::uint16_t function, std::uint64_t bytes, std::uint64_t start_ns);

}  // namespace lull::sim
