// What the programs beside a case do.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

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

CUdeviceptr kept = 0;

CUdeviceptr hold(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  OK(cuMemsetD8_v2(at, 1, bytes));
  OK(cuCtxSynchronize());
  return at;
}

// main() returns while another thread waits at the gate.
int exit_while_waiting() {
  const CUcontext current = start();
  kept = hold(mib);
  say("ready");
  await_release();
  std::atomic<bool> about{false};
  std::thread([&] {
    (void)cuCtxSetCurrent(current);
    about = true;
    (void)cuMemsetD8_v2(kept, 2, mib);
  }).detach();
  return comes_true([&] { return about.load(); }) ? 7 : 1;
}

// A destructor that runs after the driver has ended: the frees must succeed all the same.
struct FreesLate {
  CUdeviceptr in_order = 0;
  ~FreesLate() {
    if (in_order && (cuMemFree_v2(kept) != CUDA_SUCCESS || cuMemFreeAsync(in_order, nullptr) != CUDA_SUCCESS))
      ::_exit(1);
  }
};

int free_at_exit() {
  static FreesLate late;  // made before the driver begins, so gone after it has ended
  (void)start();
  kept = hold(4 * mib);
  late.in_order = hold(4 * mib);
  say("ready");
  await_release();
  return 8;
}

// An exit handler gives the context back, as NVIDIA's runtime does, while the mover waits for the driver.
int exit_while_leaving() {
  (void)start();
  kept = hold(32 * mib);
  say("ready");
  // The driver takes ten seconds over each wait of the mover's (hazards.py).
  std::atexit([] { (void)cuDevicePrimaryCtxRelease_v2(0); });
  await_release();
  return 9;
}

// Gives another process a handle of its memory.
int share_by_ipc() {
  (void)start();
  kept = hold(4 * mib);
  CUipcMemHandle handle;
  OK(cuIpcGetMemHandle(&handle, kept));
  say("shared");
  await_release();
  OK(cuMemFree_v2(kept));
  return 0;
}

}  // namespace

int run_role(std::string_view name) {
  if (name == "take-all") return take_all();
  if (name == "exit-while-waiting") return exit_while_waiting();
  if (name == "free-at-exit") return free_at_exit();
  if (name == "exit-while-leaving") return exit_while_leaving();
  if (name == "share-by-ipc") return share_by_ipc();
  return 64;
}

}  // namespace lull::hazards
