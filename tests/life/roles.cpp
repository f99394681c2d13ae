// What the programs beside a case do.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "tests/hazards/support.h"
#include "tests/life/endings.h"

namespace lull::hazards {
namespace {

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

bool await_release() {
  char c = 0;
  return ::read(STDIN_FILENO, &c, 1) == 1;
}

CUdeviceptr begin() {
  CUcontext made = nullptr;
  CUdeviceptr at = 0;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&made, 0));
  OK(cuCtxSetCurrent(made));
  OK(cuMemAlloc_v2(&at, 8 * mib));
  fill(at, 8 * mib, 7);
  say("ready");
  return at;
}

int hold() {
  const CUdeviceptr at = begin();
  (void)await_release();
  return intact(at, 8 * mib, 7) ? 0 : 1;
}

// Also those that it has not opened: what is left afterwards are its own two, and whatever it opens now has number 3.
int close_everything() {
  const CUdeviceptr at = begin();
  (void)await_release();
  (void)::syscall(SYS_close_range, 3, ~0u, 0);
  const int lowest = ::open("/dev/null", O_RDONLY);
  say("closed");
  (void)await_release();
  OK(cuMemsetD8_v2(at, 0, 0));
  OK(cuMemsetD32_v2(at + 4 * mib, 9, 16));
  const bool same = intact(at, 4 * mib, 7);
  char byte = 0;
  return lowest == 3 && same && ::read(lowest, &byte, 1) == 0 ? 0 : 1;
}

[[noreturn]] void become(const std::string& name) {
  std::vector<std::string> command = role(name);
  char* const arguments[] = {command[0].data(), command[1].data(), nullptr};
  (void)::setenv("LULL_RUNTIME_DIR", std::getenv("LULL_TEST_NEXT"), 1);
  (void)::execv(arguments[0], arguments);
  ::_exit(127);
}

int become_another() {
  (void)begin();
  (void)await_release();
  become("hold");
}

int start_another() {
  (void)begin();
  (void)await_release();
  const pid_t child = ::fork();
  if (child == 0) become("hold");
  int status = -1;
  (void)::waitpid(child, &status, 0);
  say(status == 0 ? "child ended well" : "child failed");
  return 0;
}

// Now and then each thread's reference is the last one, and the next one's context is a new one of the same name.
int primary_by_turns() {
  OK(cuInit(0));
  std::atomic<bool> right{true};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 2; ++i)
    threads.emplace_back([&right] {
      for (unsigned turn = 0; turn < 1200 && right; ++turn) {
        CUcontext primary = nullptr;
        CUdeviceptr at = 0;
        const bool began = cuDevicePrimaryCtxRetain(&primary, 0) == CUDA_SUCCESS &&
                           cuCtxSetCurrent(primary) == CUDA_SUCCESS && cuMemAlloc_v2(&at, 4096) == CUDA_SUCCESS;
        const bool used = began && cuMemsetD8_v2(at, 3, 4096) == CUDA_SUCCESS && cuMemFree_v2(at) == CUDA_SUCCESS;
        const bool ended = cuCtxSetCurrent(nullptr) == CUDA_SUCCESS && cuDevicePrimaryCtxRelease_v2(0) == CUDA_SUCCESS;
        if (!used || !ended) right = false;
      }
    });
  for (std::thread& thread : threads) thread.join();
  return right ? 0 : 1;
}

}  // namespace

int run_role(std::string_view name) {
  if (name == "hold") return hold();
  if (name == "close-everything") return close_everything();
  if (name == "become-another") return become_another();
  if (name == "start-another") return start_another();
  if (name == "primary-by-turns") return primary_by_turns();
  return run_ending(name);
}

}  // namespace lull::hazards
