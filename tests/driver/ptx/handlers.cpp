#include "tests/driver/ptx/frame.h"

namespace lull::ptx {

extern const Handler kBaselineHandlers[];

#if defined(LULL_PTX_AVX2)
extern const Handler kAvx2Handlers[];

const Handler* handlers() {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  return has_avx2 ? kAvx2Handlers : kBaselineHandlers;
}
#else
const Handler* handlers() { return kBaselineHandlers; }
#endif

}  // namespace lull::ptx
