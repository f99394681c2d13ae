// Whatever they are given: the answer is the same, once the library is in use. Unused arguments do no harm in C.
#include "tests/driver/nvml/nvml.h"

using namespace lull::sim;

extern "C" {

#define ABSENT(name)                                                              \
  nvmlReturn_t name() {                                                           \
    return with_library([](const Library&) { return NVML_ERROR_NOT_SUPPORTED; }); \
  }
#include "tests/driver/nvml/absent.def"
#undef ABSENT

}  // extern "C"
