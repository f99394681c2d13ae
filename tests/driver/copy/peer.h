// Copies between two contexts.
#pragma once
#include <functional>

#include "tests/driver/context/context.h"

namespace lull::sim {

// CUDA_ERROR_INVALID_CONTEXT unless both handles are contexts; what is wrong with a context otherwise.
CUresult check_peers(CUcontext to, CUcontext from);

// A copy without a stream comes after all that was submitted to both contexts and before all that will be. Work of a
// context that is not current knows nothing of the current one's streams, so then this waits.
CUresult between_contexts(CUcontext to, CUcontext from, const std::function<CUresult()>& copy);

}  // namespace lull::sim
