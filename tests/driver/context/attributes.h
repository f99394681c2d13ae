// Device attributes: what the card's profile says, else what card/attributes.def says.
#pragma once
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {

int attribute_of(CUdevice device, CUdevice_attribute attribute);  // 0 for a number that cuda.h does not know

}  // namespace lull::sim
