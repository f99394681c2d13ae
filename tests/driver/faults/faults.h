// The faults that this process has been told to have, and the places where they happen.
#pragma once
#include <cstdint>
#include <string>

#include "tests/driver/faults/request.h"
#include "tests/driver/journal/journal.h"
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

struct Life;

// False: `problem` says why it cannot be.
bool apply_fault(const Request& request, std::string& problem);
// LULL_SIM_FAULTS is in force from the first call on; here, where the cards are there, what is about them. Empty, or
// what is wrong with any of it.
std::string apply_faults_of_environment();

// Before an exported function does its work: delays it, ends the process, or says what it answers instead.
CUresult fault_at_call(std::uint16_t function);
// Whether a byte of the copy that is being made arrives wrong.
bool fault_at_copy(Kind way);
// Before a piece of work of a stream: does not return while the stream hangs and its context lives.
void fault_at_work(std::uint32_t stream, const Life& life);

}  // namespace lull::sim
