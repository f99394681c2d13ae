// shim/timed.h: a gate does not close between two timed events. Who times kernels to choose among them (autotuners)
// would choose wrongly, and for good, if a pause fell between the two.
//
// A record of a timed event opens a pair, the record of another one ends it; a pair that is not ended counts for 20 ms.
// While one is open, threads pass a gate that has just closed, until the mover, after 20 ms at most, begins the drain:
//
//   mover:   final word = the gate's word;  barrier;  are all threads outside?
//   thread:  mark inside;  fence;  a pair is open, and the final word is not this gate's word?  then pass
//
// so a thread that has passed is one that the mover waits for. One pair a process is enough of a model: where several
// threads time at once, a closing comes at a worse moment, or 20 ms later.
#pragma once
#include <cstdint>

#include "shim/real.h"

namespace lull::timed {

bool may_pass(unsigned slot, std::uint64_t gate_word);  // for a thread that is marked as inside
bool pair_open();
// For the mover: waits for the pair's end while the gate word stands; nobody passes that closing afterwards.
void let_pair_end(unsigned slot, std::uint64_t gate_word);

// Around the driver's calls.
CUresult create(CUevent* event, unsigned flags);
CUresult destroy(CUresult result, CUevent event);
bool is_timed(CUevent event);
void recorded(CUevent event);

template <auto& next>
CUresult destroy(CUevent event) {
  return destroy(next(event), event);
}
template <auto& next, class... Args>
CUresult record_with(CUevent event, Args... args) {
  const CUresult result = next(event, args...);
  if (is_timed(event) && result == CUDA_SUCCESS) recorded(event);
  return result;
}
template <auto& next>
CUresult record(CUevent event, CUstream stream) {
  return record_with<next>(event, stream);
}
template <auto& next>
CUresult record(CUevent event, CUstream stream, unsigned flags) {
  return record_with<next>(event, stream, flags);
}

}  // namespace lull::timed
