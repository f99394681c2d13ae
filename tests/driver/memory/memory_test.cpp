#include <cstring>
#include <set>

#include "tests/driver/card/settings.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

TEST_CASE("small allocations share granules, are aligned to 512 bytes and know their own size") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  std::set<CUdeviceptr> all;
  for (int i = 0; i < 4000; ++i) {
    CUdeviceptr d = 0;
    OK(cuMemAlloc_v2(&d, 1000));
    REQUIRE_EQ(d % 512, 0);
    REQUIRE(all.insert(d).second);
  }
  CHECK(free_at_first - free_bytes() <= 4000 * 1024 + granule);
  CUdeviceptr base = 0;
  std::size_t size = 0;
  const CUdeviceptr some = *std::next(all.begin(), 7);
  OK(cuMemGetAddressRange_v2(&base, &size, some + 999));
  CHECK_EQ(base, some);
  CHECK_EQ(size, 1000);
  CHECK_EQ(cuMemGetAddressRange_v2(&base, &size, 4096), CUDA_ERROR_NOT_FOUND);
  for (const CUdeviceptr d : all) OK(cuMemFree_v2(d));
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(cuMemFree_v2(some), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("the total is the same from every query and before any context") {
  std::size_t before = 0, free = 0, total = 0;
  OK(cuDeviceTotalMem_v2(&before, 0));
  const TestContext context;
  OK(cuMemGetInfo_v2(&free, &total));
  CHECK_EQ(total, before);
  CHECK_EQ(total, card_bytes);
  CHECK_EQ(free, card_bytes - context_bytes);
}

TEST_CASE("contexts and modules cost native memory while they exist") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  (void)kernel("add_one");  // with one small variable: a slab
  CHECK_EQ(free_bytes(), free_at_first - MiB - granule);
  CUcontext primary = nullptr;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  CHECK_EQ(free_bytes(), free_at_first - MiB - granule - context_bytes);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  CHECK_EQ(free_bytes(), free_at_first - MiB - granule);
}

TEST_CASE("the primary context keeps its handle, and a reset frees its memory") {
  CUcontext first = nullptr, second = nullptr;
  OK(cuDevicePrimaryCtxRetain(&first, 0));
  OK(cuCtxSetCurrent(first));
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 5 * granule));
  OK(cuDevicePrimaryCtxReset_v2(0));
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(cuMemFree_v2(d), CUDA_ERROR_INVALID_VALUE);
  OK(cuDevicePrimaryCtxRetain(&second, 0));
  CHECK_EQ(first, second);
  OK(cuDevicePrimaryCtxRelease_v2(0));
  OK(cuDevicePrimaryCtxRelease_v2(0));
  CHECK_EQ(cuMemAlloc_v2(&d, 16), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  CHECK_EQ(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
  OK(cuCtxSetCurrent(nullptr));
  CHECK_EQ(cuMemAlloc_v2(&d, 16), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_CASE("stream-ordered memory is freed in the order of its stream") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = 0;
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  OK(cuMemAllocAsync(&d, 3 * granule, s));
  CHECK_EQ(free_bytes(), free_at_first - 3 * granule);
  CUmemoryPool pool = nullptr;
  cuuint64_t used = 0;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuMemPoolGetAttribute(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  CHECK_EQ(used, 3 * granule);
  OK(cuMemsetD8Async(d, 1, 3 * granule, s));
  OK(cuMemFreeAsync(d, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("module variables have their initial values, and a CUkernel launches like a CUfunction") {
  const TestContext context;
  const char* text =
      ".version 6.3\n.target sm_75\n.address_size 64\n.global .align 4 .u32 counter = 7;\n"
      ".visible .entry nothing()\n{\n  ret;\n}\n";
  CUlibrary library = nullptr;
  CUkernel nothing = nullptr;
  CUdeviceptr variable = 0;
  std::size_t bytes = 0;
  std::uint32_t value = 0;
  OK(cuLibraryLoadData(&library, text, nullptr, nullptr, 0, nullptr, nullptr, 0));
  OK(cuLibraryGetKernel(&nothing, library, "nothing"));
  OK(cuLibraryGetGlobal(&variable, &bytes, library, "counter"));
  OK(cuMemcpyDtoH_v2(&value, variable, 4));
  CHECK_EQ(value, 7);
  CHECK_EQ(bytes, 4);
  OK(cuLaunchKernel(reinterpret_cast<CUfunction>(nothing), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(cuLibraryGetKernel(&nothing, library, "missing"), CUDA_ERROR_NOT_FOUND);
  OK(cuLibraryUnload(library));
}

TEST_CASE("wrong code is refused and the log says where") {
  const TestContext context;
  char log[200] = "";
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  CUmodule module = nullptr;
  CHECK_EQ(cuModuleLoadDataEx(&module, ".version 6.3\n.target sm_75\nnonsense", 2, options, values),
           CUDA_ERROR_INVALID_PTX);
  CHECK(std::strstr(log, "line 3"));
  CHECK_EQ(cuModuleLoadData(&module,
                            "\x7f"
                            "ELF"),
           CUDA_ERROR_NO_BINARY_FOR_GPU);
  CHECK_EQ(cuModuleLoad(&module, "/does/not/exist.ptx"), CUDA_ERROR_FILE_NOT_FOUND);
}

TEST_CASE("launches are checked at the call and copy their parameters there") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  CHECK_EQ(cuLaunchKernel(add_one, 1, 1, 1, 0, 1, 1, 0, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchKernel(add_one, 1, 1, 1, 2048, 1, 1, 0, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchKernel(add_one, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuLaunchKernel(reinterpret_cast<CUfunction>(1234), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
           CUDA_ERROR_INVALID_HANDLE);
  struct {
    CUdeviceptr words;
    std::uint32_t n;
  } packed{};
  OK(cuMemAlloc_v2(&packed.words, 4));
  OK(cuMemsetD32_v2(packed.words, 1, 1));
  packed.n = 1;
  std::size_t bytes = 12;
  void* extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
  OK(cuLaunchKernel(add_one, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, extra));
  const CUdeviceptr words = packed.words;
  packed.words = 0;  // copied already
  std::uint32_t value = 0;
  OK(cuMemcpyDtoH_v2(&value, words, 4));
  CHECK_EQ(value, 2);
}
