#include <array>
#include <cstddef>

#include "tests/driver/ptx/frame.h"
#include "tests/driver/ptx/operation_rows.h"

namespace lull::ptx {
namespace {

#define OP(...) +1
#define OP4(...) +1
constexpr std::size_t kVectorised = 0
#include "tests/driver/ptx/operations.def"
    ;
constexpr std::size_t kRare = 0
#include "tests/driver/ptx/operations_rare.def"
    ;
#undef OP4
#undef OP

using Table = std::array<Handler, kVectorised + kRare>;

}  // namespace

extern const Handler kRareHandlers[];
extern const Handler kBaselineHandlers[];
#if defined(LULL_PTX_AVX2)
extern const Handler kAvx2Handlers[];
#endif

namespace {

const Handler* vectorised() {
#if defined(LULL_PTX_AVX2)
  if (__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0) return kAvx2Handlers;
#endif
  return kBaselineHandlers;
}

Table all_handlers() {
  Table all{};
  const Handler* const first = vectorised();
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = i < kVectorised ? first[i] : kRareHandlers[i - kVectorised];
  return all;
}

}  // namespace

const Handler* handlers() {
  static const Table table = all_handlers();
  return table.data();
}

}  // namespace lull::ptx
