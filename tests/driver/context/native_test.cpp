#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

constexpr std::size_t module_bytes = MiB;  // as main sets it

constexpr const char* two_kernels =
    ".version 6.3\n.target sm_75\n.address_size 64\n"
    ".visible .entry first()\n{\n  ret;\n}\n"
    ".visible .entry second()\n{\n  ret;\n}\n";

CUmodule load(const char* text) {
  CUmodule module = nullptr;
  OK(cuModuleLoadData(&module, text));
  return module;
}

CUfunction function(CUmodule module, const char* name) {
  CUfunction found = nullptr;
  OK(cuModuleGetFunction(&found, module, name));
  return found;
}

CUresult run(CUfunction f) {
  const CUresult failed = cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr);
  return failed ? failed : cuCtxSynchronize();
}

std::size_t limit_of(CUlimit limit) {
  std::size_t value = 0;
  OK(cuCtxGetLimit(&value, limit));
  return value;
}

// The card is full but for so many bytes.
class FullCard {
 public:
  explicit FullCard(std::size_t left) {
    handle_ = create((free_bytes() - left) / granule * granule);
    // What is left of the last granule goes to the heap: native memory needs no whole ones.
    if (left == 0 && free_bytes() > 0)
      OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, limit_of(CU_LIMIT_MALLOC_HEAP_SIZE) + free_bytes()));
  }
  ~FullCard() {
    (void)cuMemRelease(handle_);
    (void)cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 8 * MiB);
  }
  FullCard(const FullCard&) = delete;
  FullCard& operator=(const FullCard&) = delete;

 private:
  CUmemGenericAllocationHandle handle_ = 0;
};

std::size_t resident_threads() {
  int processors = 0, threads = 0;
  OK(cuDeviceGetAttribute(&processors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
  OK(cuDeviceGetAttribute(&threads, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 0));
  return static_cast<std::size_t>(processors) * static_cast<std::size_t>(threads);
}

ChildRole eager("eager-loading", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  CUmoduleLoadingMode mode{};
  OK(cuModuleGetLoadingMode(&mode));
  const std::size_t before = free_bytes();
  const CUmodule module = load(two_kernels);
  CUfunctionLoadingState state{};
  OK(cuFuncIsLoaded(&state, function(module, "first")));
  const bool charged = free_bytes() == before - module_bytes;
  return mode == CU_MODULE_EAGER_LOADING && charged && state == CU_FUNCTION_LOADING_STATE_LOADED ? 0 : 2;
});

}  // namespace

TEST_CASE("a module's code is loaded, and charged, with the first use of a kernel") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUmoduleLoadingMode mode{};
  OK(cuModuleGetLoadingMode(&mode));
  CHECK_EQ(mode, CU_MODULE_LAZY_LOADING);
  const CUmodule module = load(two_kernels);
  const CUfunction first = function(module, "first");
  CUfunctionLoadingState state{};
  OK(cuFuncIsLoaded(&state, first));
  CHECK_EQ(state, CU_FUNCTION_LOADING_STATE_UNLOADED);
  CHECK_EQ(free_bytes(), free_at_first);
  OK(run(first));
  OK(cuFuncIsLoaded(&state, first));
  CHECK_EQ(state, CU_FUNCTION_LOADING_STATE_LOADED);
  CHECK_EQ(free_bytes(), free_at_first - module_bytes);
  OK(run(function(module, "second")));
  CHECK_EQ(free_bytes(), free_at_first - module_bytes);
  OK(cuModuleUnload(module));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("cuFuncLoad loads what a launch would") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const CUmodule module = load(two_kernels);
  const CUfunction first = function(module, "first");
  OK(cuFuncLoad(first));
  OK(cuFuncLoad(first));  // no effect
  CHECK_EQ(free_bytes(), free_at_first - module_bytes);
  OK(run(first));
  CHECK_EQ(free_bytes(), free_at_first - module_bytes);
}

TEST_CASE("the code of a library is loaded with the first launch of a kernel in a context") {
  const TestContext context;
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  OK(cuLibraryLoadData(&library, two_kernels, nullptr, nullptr, 0, nullptr, nullptr, 0));
  OK(cuLibraryGetKernel(&kernel, library, "first"));
  const std::size_t free_at_first = free_bytes();
  OK(run(reinterpret_cast<CUfunction>(kernel)));
  CHECK_EQ(free_bytes(), free_at_first - module_bytes);
  OK(cuLibraryUnload(library));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("a launch that has to load its code fails on a full card, and works when there is room") {
  const TestContext context;
  const CUmodule module = load(two_kernels);
  const CUfunction first = function(module, "first");
  CUfunctionLoadingState state{};
  {
    const FullCard full(0);
    CHECK_EQ(run(first), CUDA_ERROR_OUT_OF_MEMORY);
    OK(cuFuncIsLoaded(&state, first));
    CHECK_EQ(state, CU_FUNCTION_LOADING_STATE_UNLOADED);
    OK(cuCtxSynchronize());  // not sticky
  }
  OK(run(first));
}

TEST_CASE("with CUDA_MODULE_LOADING=EAGER the code comes with its module") {
  Child child("eager-loading", {"CUDA_MODULE_LOADING=EAGER"});
  CHECK_EQ(child.wait(), 0);
}

TEST_CASE("the variables of a module need memory when it is loaded") {
  const TestContext context;
  const FullCard full(0);
  CUmodule module = nullptr;
  CHECK_EQ(cuModuleLoadData(&module,
                            ".version 6.3\n.target sm_75\n.address_size 64\n.global .align 4 .b8 big[4000000];\n"
                            ".visible .entry nothing()\n{\n  ret;\n}\n"),
           CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_CASE("a context is not created on a full card, nor is the primary one retained") {
  const TestContext context;
  const FullCard full(context_bytes / 2);
  const std::size_t left = free_bytes();
  CUcontext another = nullptr;
  CHECK_EQ(cuCtxCreate_v2(&another, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(cuDevicePrimaryCtxRetain(&another, 0), CUDA_ERROR_OUT_OF_MEMORY);
  unsigned flags = 0;
  int active = 9;
  OK(cuDevicePrimaryCtxGetState(0, &flags, &active));
  CHECK_EQ(active, 0);
  CHECK_EQ(free_bytes(), left);
}

TEST_CASE("a larger heap or printf buffer is charged, and given back when it shrinks or the context goes") {
  const TestContext watcher;
  const std::size_t free_at_first = free_bytes();
  {
    const TestContext context;
    const std::size_t with_context = free_bytes();
    OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, limit_of(CU_LIMIT_MALLOC_HEAP_SIZE) + 10 * MiB));
    CHECK_EQ(free_bytes(), with_context - 10 * MiB);
    OK(cuCtxSetLimit(CU_LIMIT_PRINTF_FIFO_SIZE, limit_of(CU_LIMIT_PRINTF_FIFO_SIZE) + 3 * MiB));
    CHECK_EQ(free_bytes(), with_context - 13 * MiB);
    OK(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, MiB));
    CHECK_EQ(free_bytes(), with_context - 3 * MiB);
  }
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("local memory is charged for every thread that can be resident") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 1024 + 4096));
  CHECK_EQ(free_bytes(), free_at_first - 4096 * resident_threads());
  OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 5000));
  CHECK_EQ(limit_of(CU_LIMIT_STACK_SIZE), 5008);  // whole units of 16
  OK(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 1024));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("a limit that the card has no memory for stays as it was") {
  const TestContext context;
  const std::size_t heap = limit_of(CU_LIMIT_MALLOC_HEAP_SIZE), left = free_bytes();
  CHECK_EQ(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, card_bytes), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 256u << 10), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(limit_of(CU_LIMIT_MALLOC_HEAP_SIZE), heap);
  CHECK_EQ(limit_of(CU_LIMIT_STACK_SIZE), 1024);
  CHECK_EQ(free_bytes(), left);
}

TEST_CASE("a kernel with more local memory than the limit raises it at its launch, which a full card refuses") {
  const TestContext context;
  const CUmodule module = load(
      ".version 6.3\n.target sm_75\n.address_size 64\n"
      ".visible .entry deep()\n{\n  .local .align 8 .b8 stack[16384];\n  .reg .b32 %r<2>;\n  mov.u32 %r1, 0;\n"
      "  st.local.u32 [stack], %r1;\n  ret;\n}\n");
  const CUfunction deep = function(module, "deep");
  OK(cuFuncLoad(deep));
  {
    const FullCard full(0);
    CHECK_EQ(run(deep), CUDA_ERROR_OUT_OF_MEMORY);
  }
  const std::size_t free_at_first = free_bytes();
  OK(run(deep));
  CHECK(limit_of(CU_LIMIT_STACK_SIZE) >= 16384);
  CHECK_EQ(free_bytes(), free_at_first - (limit_of(CU_LIMIT_STACK_SIZE) - 1024) * resident_threads());
  OK(run(deep));  // it stays, and is charged once
  CHECK_EQ(free_bytes(), free_at_first - (limit_of(CU_LIMIT_STACK_SIZE) - 1024) * resident_threads());
}

TEST_CASE("limits are checked: their numbers, their values, and which may only be read") {
  const TestContext context;
  std::size_t value = 0;
  CHECK_EQ(cuCtxSetLimit(CU_LIMIT_MAX, 1), CUDA_ERROR_UNSUPPORTED_LIMIT);
  CHECK_EQ(cuCtxGetLimit(&value, CU_LIMIT_MAX), CUDA_ERROR_UNSUPPORTED_LIMIT);
  CHECK_EQ(cuCtxGetLimit(nullptr, CU_LIMIT_STACK_SIZE), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuCtxSetLimit(CU_LIMIT_STACK_SIZE, 1u << 20), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuCtxSetLimit(CU_LIMIT_CIG_ENABLED, 1), CUDA_ERROR_UNSUPPORTED_LIMIT);
  OK(cuCtxSetLimit(CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 4096));
  CHECK_EQ(limit_of(CU_LIMIT_MAX_L2_FETCH_GRANULARITY), 128);  // clamped
}
