// What the other processes of the tests do.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "tests/driver/testing/test_support.h"

namespace lull::sim::test {
namespace {

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}
void await_release() { (void)std::getchar(); }

int start(CUcontext* context) {
  return cuInit(0) == CUDA_SUCCESS && cuCtxCreate_v2(context, 0, 0) == CUDA_SUCCESS ? 0 : 1;
}

// Holds 40 MiB until it is released or killed.
int hold() {
  CUcontext context = nullptr;
  CUmemGenericAllocationHandle handle = 0;
  const auto prop = device_memory();
  if (start(&context) || cuMemCreate(&handle, 40 * MiB, &prop, 0) != CUDA_SUCCESS) return 1;
  say("holding");
  await_release();
  return 0;
}

// Runs an endless kernel and does not wait for it.
int spin() {
  CUcontext context = nullptr;
  if (start(&context)) return 1;
  CUdeviceptr flag = 0;
  OK(cuMemAlloc_v2(&flag, 4));
  OK(cuMemsetD32_v2(flag, 0, 1));
  OK(launch(kernel("spin"), 1, nullptr, {&flag}));
  say("spinning");
  await_release();
  return 0;
}

// Copies 8 MiB to the device when told to.
int copy() {
  CUcontext context = nullptr;
  CUdeviceptr d = 0;
  void* host = nullptr;
  if (start(&context)) return 1;
  OK(cuMemAlloc_v2(&d, 8 * MiB));
  OK(cuMemHostAlloc(&host, 8 * MiB, 0));
  say("ready");
  await_release();
  OK(cuMemcpyHtoD_v2(d, host, 8 * MiB));
  return 0;
}

// Takes and gives memory until it is killed.
int churn() {
  CUcontext context = nullptr;
  if (start(&context)) return 1;
  say("churning");
  const auto prop = device_memory();
  while (true) {
    CUmemGenericAllocationHandle a = 0, b = 0;
    if (cuMemCreate(&a, 6 * MiB, &prop, 0) != CUDA_SUCCESS || cuMemCreate(&b, 20 * MiB, &prop, 0) != CUDA_SUCCESS)
      return 2;
    if (cuMemRelease(a) != CUDA_SUCCESS || cuMemRelease(b) != CUDA_SUCCESS) return 3;
  }
}

// Forks after cuInit and tells what the child is answered.
int fork_after_init() {
  CUcontext context = nullptr;
  CUdeviceptr d = 0;
  if (start(&context)) return 1;
  OK(cuMemAlloc_v2(&d, 64));
  const pid_t child = ::fork();
  if (child == 0) {
    int count = 0;
    std::size_t free = 0, total = 0;
    const bool refused =
        cuDeviceGetCount(&count) == CUDA_ERROR_NOT_INITIALIZED && cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
        cuMemGetInfo_v2(&free, &total) == CUDA_ERROR_NOT_INITIALIZED && cuMemFree_v2(d) == CUDA_ERROR_NOT_INITIALIZED;
    ::_exit(refused ? 0 : 2);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return status == 0 && cuMemFree_v2(d) == CUDA_SUCCESS ? 0 : 3;
}

int faults() {
  CUcontext context = nullptr;
  if (start(&context)) return 1;
  const auto prop = device_memory();
  CUmemGenericAllocationHandle handle = 0;
  const CUresult first = cuMemCreate(&handle, granule, &prop, 0), second = cuMemCreate(&handle, granule, &prop, 0),
                 third = cuMemCreate(&handle, granule, &prop, 0);
  return first == CUDA_SUCCESS && second == CUDA_ERROR_OUT_OF_MEMORY && third == CUDA_SUCCESS ? 0 : 2;
}

// Closes every descriptor, as daemons do, and goes on using the card.
int close_all() {
  CUcontext context = nullptr;
  if (start(&context)) return 1;
  ::close_range(3, ~0u, 0);
  CUdeviceptr at = 0;
  std::uint32_t n = granule / 4, word = 0;
  OK(cuMemAddressReserve(&at, granule, 0, 0, 0));
  map(at, granule, create(granule));
  OK(cuMemsetD32_v2(at, 6, n));
  OK(launch(kernel("add_one"), n, nullptr, {&at, &n}));
  OK(cuMemcpyDtoH_v2(&word, at + granule - 4, 4));
  return word == 7 ? 0 : 2;
}

int poison() {
  CUcontext context = nullptr;
  CUdeviceptr d = 0;
  unsigned char seen[2] = {};
  if (start(&context)) return 1;
  OK(cuMemAlloc_v2(&d, granule));
  OK(cuMemcpyDtoH_v2(seen, d + granule - 2, 2));
  return seen[0] == 0xCB && seen[1] == 0xCB ? 0 : 2;
}

// Two cards: each with memory and an identity of its own.
int two_cards() {
  CUcontext first = nullptr, second = nullptr;
  int count = 0;
  if (start(&first)) return 1;
  OK(cuDeviceGetCount(&count));
  OK(cuCtxCreate_v2(&second, 0, 1));
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 20 * MiB));
  CUuuid a{}, b{};
  OK(cuDeviceGetUuid_v2(&a, 0));
  OK(cuDeviceGetUuid_v2(&b, 1));
  const std::size_t free_second = free_bytes();
  OK(cuCtxSetCurrent(first));
  const std::size_t free_first = free_bytes();
  const bool apart = free_first == free_second + 20 * MiB && std::memcmp(a.bytes, b.bytes, 16) != 0;
  return count == 2 && apart ? 0 : 2;
}

// The program's own fault.
void touch_nothing() {
  void* const at = ::mmap(nullptr, granule, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *static_cast<volatile int*>(at) = 1;
}

// The program's own handler, put over the driver's and calling it, as crash reporters do.
struct sigaction handler_before;
void own_handler(int signal, siginfo_t* info, void* where) {
  static int calls = 0;
  if (++calls > 1) ::_exit(42);
  if (handler_before.sa_flags & SA_SIGINFO) handler_before.sa_sigaction(signal, info, where);
}

int program_handler() {
  CUcontext context = nullptr;
  if (start(&context)) return 1;
  struct sigaction own {};
  own.sa_sigaction = own_handler;
  own.sa_flags = SA_SIGINFO;
  ::sigaction(SIGSEGV, &own, &handler_before);
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, granule, 0, 0, 0));
  map(at, granule, create(granule));
  OK(cuMemsetD8_v2(at, 0, granule));
  OK(launch(kernel("spin"), 1, nullptr, {&at}));
  OK(cuMemUnmap(at, granule));
  if (cuCtxSynchronize() != CUDA_ERROR_ILLEGAL_ADDRESS) return 2;
  touch_nothing();  // its handler, then the default
  return 3;
}

int own_fault() {
  if (cuInit(0) != CUDA_SUCCESS) return 2;
  touch_nothing();
  return 0;
}

// Ends with kernels and copies still running and everything still allocated.
int exit_busy() {
  if (const int failed = spin()) return failed;
  CUdeviceptr d = 0;
  void* host = nullptr;
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  OK(cuMemAlloc_v2(&d, 8 * MiB));
  OK(cuMemHostAlloc(&host, 8 * MiB, 0));
  for (int i = 0; i < 100; ++i) OK(cuMemcpyHtoDAsync_v2(d, host, 8 * MiB, s));
  return 0;
}

}  // namespace

namespace {
ChildRole*& first_role() {
  static ChildRole* first = nullptr;
  return first;
}
}  // namespace

ChildRole::ChildRole(const char* name, int (*body)()) : name_(name), run_(body), next_(first_role()) {
  first_role() = this;
}

ChildRole* ChildRole::find(std::string_view name) {
  ChildRole* role = first_role();
  while (role && role->name_ != name) role = role->next_;
  return role;
}

int run_child_role(std::string_view role) {
  // There is no test case around these assertions: a failed one ends the child.
  doctest::Context context;
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler([](const doctest::AssertData& data) {
    if (!data.m_failed) return;
    std::fprintf(stderr, "child: %s:%d: %s\n", data.m_file, data.m_line, data.m_expr);
    ::_exit(9);
  });
  if (const ChildRole* found = ChildRole::find(role)) return found->run();
  if (role == "hold") return hold();
  if (role == "spin") return spin();
  if (role == "copy") return copy();
  if (role == "churn") return churn();
  if (role == "fork") return fork_after_init();
  if (role == "close-all") return close_all();
  if (role == "poison") return poison();
  if (role == "two-cards") return two_cards();
  if (role == "program-handler") return program_handler();
  if (role == "faults") return faults();
  if (role == "own-fault") return own_fault();
  if (role == "exit-busy") return exit_busy();
  return 64;
}

}  // namespace lull::sim::test
