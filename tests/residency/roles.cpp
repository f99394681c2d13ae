// What the programs beside a case do. Without doctest, whose assertions need a case around them.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

// Keeps some memory until it is killed.
int hold() {
  CUcontext made = nullptr;
  CUdeviceptr at = 0;
  if (cuInit(0) != CUDA_SUCCESS || cuDevicePrimaryCtxRetain(&made, 0) != CUDA_SUCCESS) return 1;
  if (cuCtxSetCurrent(made) != CUDA_SUCCESS || cuMemAlloc_v2(&at, held_bytes) != CUDA_SUCCESS) return 2;
  if (cuMemcpyHtoD_v2(at, held_words().data(), held_bytes) != CUDA_SUCCESS) return 3;
  for (;;) (void)::pause();
}

}  // namespace

std::vector<std::uint32_t> held_words() {
  std::vector<std::uint32_t> words(held_bytes / 4);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint32_t>(i) * 2246822519u + 1;
  return words;
}

int run_role(std::string_view role) { return role == "hold" ? hold() : 64; }

}  // namespace lull::residency_test
