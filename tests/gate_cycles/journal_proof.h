// tests/gate_cycles/journal_proof.h: what a journal says about launches and memory that comes and goes.
//
//   absent    from the beginning of cuMemUnmap to the end of the cuMemSetAccess that opens the same addresses again
//   shut      from the mark "drained" to the mark "opening", both written by whoever moves the gate
//
// A launch may not overlap the first, neither its call nor its kernel; a launch call may not begin within the second.
// That is about the program's own kernel: the shim launches one, too, on memory that it has just seen to be there.
// The journal is read twice, record by record, because it may be larger than the machine's memory.
#pragma once
#include <cstdint>
#include <string>

namespace lull::gate_cycles {

struct Proof {
  std::uint64_t launches = 0, kernels = 0;     // calls of cuLaunchKernel, and kernels that have run
  std::uint64_t absences = 0, shut = 0;        // how often memory was away, and the gate shut with nothing running
  std::uint64_t into_absent = 0, at_shut = 0;  // launches or kernels where there must be none
  std::uint64_t failed = 0;                    // launches that the driver answered with an error
  std::string first;                           // the first of what must not be, told
};

// Throws where there is no journal. `function`: the CUfunction that the program launches.
Proof prove(const std::string& journal, std::uint64_t function);

}  // namespace lull::gate_cycles
