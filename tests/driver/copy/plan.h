// What a CUDA_MEMCPY2D or 3D asks for, checked against the header's rules and turned into a box of bytes. Also what a
// graph's copy node keeps.
#pragma once
#include "tests/driver/copy/copy.h"

namespace lull::sim {

CUDA_MEMCPY3D in_3d(const CUDA_MEMCPY2D& flat);

// CUDA_ERROR_INVALID_VALUE, or INVALID_HANDLE for an array that is none. A copy of no bytes is a plan, too.
CUresult plan_copy(const CUDA_MEMCPY3D& asked, CopyPlan& out);
// A row of a one-dimensional array, as cuMemcpyAtoD and its like copy it.
CUresult plan_array_row(CUarray array, std::size_t offset, std::size_t bytes, Side& out);

}  // namespace lull::sim
