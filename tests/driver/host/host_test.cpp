#include <sys/mman.h>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

// Pages of the program's own.
struct Pages {
  explicit Pages(std::size_t n, int protection = PROT_READ | PROT_WRITE) : bytes(n * 4096) {
    at = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
  }
  ~Pages() { ::munmap(at, bytes); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  char* operator+(std::size_t offset) const { return static_cast<char*>(at) + offset; }
  void* at = nullptr;
  std::size_t bytes;
};

}  // namespace

TEST_CASE("page-locked memory has known flags, a size, and tells its flags") {
  const TestContext context;
  void* p = nullptr;
  unsigned flags = 0;
  CHECK_EQ(cuMemHostAlloc(&p, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostAlloc(&p, 64, 0x80), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostAlloc(nullptr, 64, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostAlloc(&p, SIZE_MAX, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemHostAlloc(&p, 64, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_WRITECOMBINED));
  OK(cuMemHostGetFlags(&flags, static_cast<char*>(p) + 63));
  CHECK_EQ(flags & CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
  CHECK_EQ(flags & CU_MEMHOSTALLOC_WRITECOMBINED, CU_MEMHOSTALLOC_WRITECOMBINED);
  OK(cuMemFreeHost(p));
  CHECK_EQ(cuMemHostGetFlags(&flags, p), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemFreeHost(p), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("page-locked memory is the device's at its own address") {
  const TestContext context;
  void* p = nullptr;
  CUdeviceptr d = 0;
  OK(cuMemHostAlloc(&p, 4096, 0));
  OK(cuMemHostGetDevicePointer_v2(&d, static_cast<char*>(p) + 8, 0));
  CHECK_EQ(d, reinterpret_cast<CUdeviceptr>(p) + 8);
  CHECK_EQ(cuMemHostGetDevicePointer_v2(&d, p, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostGetDevicePointer_v2(&d, &d, 0), CUDA_ERROR_INVALID_VALUE);
  std::uint32_t n = 1;
  *static_cast<std::uint32_t*>(p) = 6;
  CUdeviceptr words = reinterpret_cast<CUdeviceptr>(p);
  OK(launch(kernel("add_one"), 1, nullptr, {&words, &n}));
  OK(cuCtxSynchronize());
  CHECK_EQ(*static_cast<std::uint32_t*>(p), 7);
}

TEST_CASE("registered memory overlaps no other, is unregistered by its base, and is not freed as allocated memory") {
  const TestContext context;
  const Pages pages(4);
  unsigned flags = 0;
  OK(cuMemHostRegister_v2(pages + 4096, 8192, 0));
  CHECK_EQ(cuMemHostRegister_v2(pages + 4096, 8192, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CHECK_EQ(cuMemHostRegister_v2(pages + 0, 4097, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CHECK_EQ(cuMemHostRegister_v2(pages + 8192, 8192, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  OK(cuMemHostRegister_v2(pages + 12288, 4096, 0));
  CHECK_EQ(cuMemHostUnregister(pages + 4097), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  CHECK_EQ(cuMemFreeHost(pages + 4096), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostGetFlags(&flags, pages + 4096), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemHostUnregister(pages + 4096));
  OK(cuMemHostUnregister(pages + 12288));
  CHECK_EQ(cuMemHostUnregister(pages + 4096), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

TEST_CASE("allocated memory is page-locked already, and is not unregistered") {
  const TestContext context;
  void* p = nullptr;
  OK(cuMemAllocHost_v2(&p, 4096));
  CHECK_EQ(cuMemHostRegister_v2(p, 4096, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  CHECK_EQ(cuMemHostUnregister(p), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  OK(cuMemFreeHost(p));
}

TEST_CASE("what is registered is host memory that is there, with known flags") {
  const TestContext context;
  const Pages pages(2);
  CHECK_EQ(cuMemHostRegister_v2(nullptr, 4096, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, SIZE_MAX, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, SIZE_MAX / 4, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, 4096, 0x100), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, 4096, CU_MEMHOSTREGISTER_IOMEMORY), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMemHostRegister_v2(reinterpret_cast<void*>(4096), 4096, 0), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, granule));
  CHECK_EQ(cuMemHostRegister_v2(reinterpret_cast<void*>(d), 4096, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("memory the program may only read is registered as read-only, and the device does not write it") {
  const TestContext context;
  const Pages pages(1, PROT_READ);
  CHECK_EQ(cuMemHostRegister_v2(pages.at, 4096, 0), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemHostRegister_v2(pages.at, 4096, CU_MEMHOSTREGISTER_READ_ONLY));
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 4096));
  OK(cuMemcpyHtoD_v2(d, pages.at, 4096));
  CHECK_EQ(cuMemcpyDtoH_v2(pages.at, d, 4096), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_CASE("page-locked memory goes with its context, and registrations end with it") {
  const Pages pages(1);
  {
    const TestContext context;
    OK(cuMemHostRegister_v2(pages.at, 4096, 0));
  }
  const TestContext context;
  OK(cuMemHostRegister_v2(pages.at, 4096, 0));
  OK(cuMemHostUnregister(pages.at));
}
