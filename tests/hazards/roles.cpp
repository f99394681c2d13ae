// What the programs beside a case do.
#include <cstdio>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}
void await_release() { (void)std::getchar(); }

CUcontext start() {
  CUcontext made = nullptr;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&made, 0));
  OK(cuCtxSetCurrent(made));
  return made;
}

// Takes whatever the card still has, until it is released.
int take_all() {
  (void)start();
  CUdeviceptr at = 0;
  for (std::size_t bytes = 256 * mib; bytes >= granule; bytes /= 2)
    while (cuMemAlloc_v2(&at, bytes) == CUDA_SUCCESS) {
    }
  say("taken");
  await_release();
  return 0;
}

}  // namespace

int run_role(std::string_view name) {
  if (name == "take-all") return take_all();
  return 64;
}

}  // namespace lull::hazards
