#include "tests/life/endings.h"

#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

CUcontext the_context = nullptr;
CUdeviceptr kept = 0;

void begin() {
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&the_context, 0));
  OK(cuCtxSetCurrent(the_context));
  OK(cuMemAlloc_v2(&kept, 8 * mib));
  fill(kept, 8 * mib, 9);
}

void await_release() {
  std::printf("ready\n");
  std::fflush(stdout);
  char c = 0;
  (void)!::read(STDIN_FILENO, &c, 1);
}

// A program's last act: its result is read back. What is wrong with it shows in the exit code.
void save() {
  if (!intact(kept, 8 * mib, 9)) ::_exit(1);
}

struct SavesLate {
  bool armed = false;
  ~SavesLate() {
    if (armed) save();
  }
};

int leave_by_return() {
  begin();
  (void)std::atexit(save);
  await_release();
  return 6;
}

int leave_by_destructor() {
  begin();
  static SavesLate late;  // made after the driver began, so gone before it has ended
  late.armed = true;
  await_release();
  return 6;
}

// Run after everything that the library or the driver has registered: by exit(), and by the loader at last.
int last_acts = 0;
void act_late() {
  if (!kept) return;
  const CUresult submitted = cuMemsetD8_v2(kept, 1, 64);
  const bool ended = submitted == CUDA_ERROR_DEINITIALIZED;
  if (submitted != CUDA_SUCCESS && !ended) ::_exit(1);
  CUdeviceptr more = 0;
  const CUresult allocated = cuMemAlloc_v2(&more, 4096);
  if (allocated != CUDA_SUCCESS && allocated != CUDA_ERROR_DEINITIALIZED) ::_exit(2);
  if (allocated == CUDA_SUCCESS && cuMemFree_v2(more) != CUDA_SUCCESS) ::_exit(3);
  ++last_acts;
}
[[gnu::destructor(101)]] void act_last() {
  if (!last_acts) return;
  act_late();
  if (cuMemFree_v2(kept) != CUDA_SUCCESS) ::_exit(4);  // also when the driver has ended
  if (last_acts == 2) ::_exit(7);
}

int leave_late() {
  (void)std::atexit(act_late);
  begin();
  await_release();
  return 6;
}

int leave_quickly() {
  (void)std::at_quick_exit(save);  // before the first use of the GPU: run after what that has set up
  begin();
  await_release();
  std::quick_exit(6);
}

// One waits at the gate, main for that one, and a third ends the program.
int leave_by_another() {
  begin();
  (void)std::atexit(save);
  std::thread third([] {
    OK(cuCtxSetCurrent(the_context));
    OK(cuMemsetD8_v2(kept, 0, 0));
    await_release();
    std::thread waits([] {
      (void)cuCtxSetCurrent(the_context);
      (void)cuMemsetD8_v2(kept, 1, 0);
    });
    waits.detach();
    std::exit(6);
  });
  third.join();
  return 1;
}

int leave_at_once() {
  begin();
  (void)std::atexit(save);
  await_release();
  ::_exit(6);
}

// The handler's first copy passes the closed gate, and the program is still there when its memory is taken.
int leave_slowly() {
  begin();
  (void)std::atexit([] {
    for (int i = 0; i < 20; ++i) save();
  });
  await_release();
  return 6;
}

int leave_the_others() {
  begin();
  std::thread([] {
    OK(cuCtxSetCurrent(the_context));
    await_release();
    save();
    std::exit(6);
  }).detach();
  ::pthread_exit(nullptr);
}

}  // namespace

int run_ending(std::string_view name) {
  if (name == "leave-by-return") return leave_by_return();
  if (name == "leave-by-destructor") return leave_by_destructor();
  if (name == "leave-late") return leave_late();
  if (name == "leave-quickly") return leave_quickly();
  if (name == "leave-by-another") return leave_by_another();
  if (name == "leave-at-once") return leave_at_once();
  if (name == "leave-slowly") return leave_slowly();
  if (name == "leave-the-others") return leave_the_others();
  return 64;
}

}  // namespace lull::hazards
