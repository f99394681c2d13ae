// Whatever a stranger's program passes: every exported function, with arguments of every wrong kind, in a child.
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iterator>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

struct KindsRow {
  const char* symbol;
  const char* kinds;  // of its parameters: see kind() in generate.py
};
const KindsRow kinds_rows[] = {
#define KINDS(symbol, kinds) {#symbol, kinds},
#include "tests/driver/surface/kinds.inc"
#undef KINDS
};

// More arguments than any function has: what it does not take does no harm.
constexpr int most = 16;
using Words = std::uint64_t[most];
using Any = CUresult (*)(std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                         std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t,
                         std::uint64_t, std::uint64_t, std::uint64_t, std::uint64_t);

enum class With { zeros, memory_and_zeros, memory_and_ones, garbage };

std::uint64_t argument(char kind, With with, std::uint64_t memory) {
  if (with == With::zeros || kind == 'f') return 0;  // a function that is none would be called, on any driver
  if (kind == 'p') return with == With::garbage ? 0 : memory;
  if (kind == 'h') return 0xdeadbeef00;
  if (kind == 'd') return 0x1000;
  if (with == With::garbage) return ~std::uint64_t{0};
  return with == With::memory_and_ones ? 1 : 0;
}

CUresult call(void* function, const Words& w) {
  return reinterpret_cast<Any>(function)(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11],
                                         w[12], w[13], w[14], w[15]);
}

// What a call may have made of the thread's contexts is undone before the next.
void renew(CUcontext& context) {
  CUcontext now = nullptr;
  std::size_t free = 0, total = 0;
  if (cuCtxGetCurrent(&now) == CUDA_SUCCESS && now == context && cuMemGetInfo_v2(&free, &total) == CUDA_SUCCESS) return;
  while (cuCtxPopCurrent_v2(&now) == CUDA_SUCCESS) {
  }
  (void)cuCtxDestroy_v2(context);
  if (cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS) ::_exit(3);
}

int call_all(With with) {
  ::alarm(60);
  constexpr std::size_t bytes = 1u << 16;
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW);
  CUcontext context = nullptr;
  if (memory == MAP_FAILED || !driver || cuInit(0) != CUDA_SUCCESS || cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS)
    return 2;
  for (const KindsRow& row : kinds_rows) {
    std::printf("%s\n", row.symbol);  // the last line names the one that did not survive
    std::fflush(stdout);
    Words words{};
    for (std::size_t i = 0; row.kinds[i]; ++i)
      words[i] = argument(row.kinds[i], with, reinterpret_cast<std::uintptr_t>(memory));
    std::memset(memory, 0, bytes);
    const char* name = nullptr;
    const CUresult result = call(::dlsym(driver, row.symbol), words);
    if (cuGetErrorName(result, &name) != CUDA_SUCCESS) {
      std::printf("%s answers %d, which is no error\n", row.symbol, static_cast<int>(result));
      return 4;
    }
    renew(context);
  }
  std::printf("all\n");
  return 0;
}

ChildRole zeros("survive-zeros", [] { return call_all(With::zeros); });
ChildRole memory_and_zeros("survive-memory-and-zeros", [] { return call_all(With::memory_and_zeros); });
ChildRole memory_and_ones("survive-memory-and-ones", [] { return call_all(With::memory_and_ones); });
ChildRole garbage("survive-garbage", [] { return call_all(With::garbage); });

// Before cuInit only what is about the driver, the process's loading mode and the thread's capture mode answers.
ChildRole too_early("survive-too-early", [] {
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW);
  for (const KindsRow& row : kinds_rows) {
    if (std::strcmp(row.symbol, "cuInit") == 0) continue;  // makes it late
    const CUresult result = call(::dlsym(driver, row.symbol), Words{});
    if (result == CUDA_ERROR_NOT_INITIALIZED) continue;
    std::printf("%s\n", row.symbol);
  }
  return 0;
});

void check_survives(const std::string& role) {
  Child child(role);
  std::string last, line = child.line();
  while (!line.empty()) {
    last = line;
    line = child.line();
  }
  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(last, "all");
}

}  // namespace

TEST_CASE("every exported function survives zero arguments") { check_survives("survive-zeros"); }

TEST_CASE("every exported function survives memory of zeros and handles that are none") {
  check_survives("survive-memory-and-zeros");
}

TEST_CASE("every exported function survives memory, handles that are none and counts of one") {
  check_survives("survive-memory-and-ones");
}

TEST_CASE("every exported function survives null pointers with counts and sizes without end") {
  check_survives("survive-garbage");
}

TEST_CASE(
    "before cuInit every function but those about driver, process and thread answers that it is not initialised") {
  Child child("survive-too-early");
  std::string others;
  for (std::string line = child.line(); !line.empty(); line = child.line()) others += line + " ";
  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(others,
           "cuDriverGetVersion cuGetErrorName cuGetErrorString cuGetExportTable cuGetProcAddress cuGetProcAddress_v2 "
           "cuModuleGetLoadingMode cuThreadExchangeStreamCaptureMode ");
}
