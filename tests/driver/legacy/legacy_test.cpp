#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

TEST_CASE("the exports of old allocate below 4 GiB, where their pointers reach") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr_v1 d = 0, base = 0;
  unsigned size = 0;
  OK(cuMemAlloc(&d, 3 << 20));
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  OK(cuMemGetAddressRange(&base, &size, d + 100));
  CHECK_EQ(base, d);
  CHECK_EQ(size, 3u << 20);
  OK(cuMemFree(d));
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(cuMemFree(d), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAlloc(&d, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAlloc(&d, 0xf0000000u), CUDA_ERROR_OUT_OF_MEMORY);
}

TEST_CASE("the sizes of old agree with today's while they fit in 32 bits") {
  const TestContext context;
  unsigned total = 0, free = 0, of_device = 0;
  OK(cuMemGetInfo(&free, &total));
  OK(cuDeviceTotalMem(&of_device, 0));
  CHECK_EQ(free, free_bytes());
  CHECK_EQ(total, card_bytes);
  CHECK_EQ(of_device, card_bytes);
  CHECK_EQ(cuDeviceTotalMem(nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("an address beyond 32 bits cannot be told by the exports of old") {
  const TestContext context;
  CUmodule module = nullptr;
  CUdeviceptr wide = 0;
  CUdeviceptr_v1 narrow = 0;
  std::size_t bytes = 0;
  unsigned size = 0;
  void* pinned = nullptr;
  OK(cuFuncGetModule(&module, kernel("add_one")));
  OK(cuModuleGetGlobal_v2(&wide, &bytes, module, "counter"));
  REQUIRE(wide > 0xffffffffu);
  CHECK_EQ(cuModuleGetGlobal(&narrow, &size, module, "counter"), CUDA_ERROR_INVALID_VALUE);
  OK(cuModuleGetGlobal(nullptr, &size, module, "counter"));
  CHECK_EQ(size, bytes);
  OK(cuMemAllocHost(&pinned, 4096));
  CHECK_EQ(cuMemHostGetDevicePointer(&narrow, pinned, 0), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFreeHost(pinned));
}

TEST_CASE("the copies and fills of old do what today's do") {
  const TestContext context;
  CUdeviceptr_v1 d = 0;
  unsigned pitch = 0;
  OK(cuMemAllocPitch(&d, &pitch, 64, 4, 4));
  OK(cuMemsetD2D8(d, pitch, 7, 64, 4));
  std::uint8_t rows[4][64] = {}, seen = 0;
  CUDA_MEMCPY2D_v1 out{};
  out.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  out.srcDevice = d;
  out.srcPitch = pitch;
  out.dstMemoryType = CU_MEMORYTYPE_HOST;
  out.dstHost = rows;
  out.dstPitch = 64;
  out.WidthInBytes = 64;
  out.Height = 4;
  OK(cuMemcpy2D(&out));
  CHECK_EQ(rows[3][63], 7);
  seen = 9;
  OK(cuMemcpyHtoD(d, &seen, 1));
  OK(cuMemcpyDtoD(d + 1, d, 1));
  OK(cuMemsetD32(d + 4, 0x05050505, 1));
  std::uint8_t again[8] = {};
  OK(cuMemcpyDtoH(again, d, 8));
  CHECK_EQ(again[1], 9);
  CHECK_EQ(again[2], 7);
  CHECK_EQ(again[4], 5);
  CHECK_EQ(cuMemcpy2D(nullptr), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree(d));
}

TEST_CASE("the arrays of old are today's arrays") {
  const TestContext context;
  const CUDA_ARRAY3D_DESCRIPTOR_v1 shape{16, 8, 4, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0};
  CUarray array = nullptr;
  OK(cuArray3DCreate(&array, &shape));
  CUDA_ARRAY3D_DESCRIPTOR wide{};
  CUDA_ARRAY3D_DESCRIPTOR_v1 old{};
  OK(cuArray3DGetDescriptor_v2(&wide, array));
  OK(cuArray3DGetDescriptor(&old, array));
  CHECK_EQ(wide.Depth, 4);
  CHECK_EQ(old.Height, 8);
  std::uint8_t bytes[16 * 8 * 4] = {}, seen[16 * 8 * 4] = {};
  bytes[511] = 3;
  CUDA_MEMCPY3D_v1 in{};
  in.srcMemoryType = CU_MEMORYTYPE_HOST;
  in.srcHost = bytes;
  in.dstMemoryType = CU_MEMORYTYPE_ARRAY;
  in.dstArray = array;
  in.WidthInBytes = 16;
  in.Height = 8;
  in.Depth = 4;
  OK(cuMemcpy3D(&in));
  CUDA_MEMCPY3D_v1 out = in;
  out.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  out.srcArray = array;
  out.dstMemoryType = CU_MEMORYTYPE_HOST;
  out.dstHost = seen;
  OK(cuMemcpy3D(&out));
  CHECK_EQ(seen[511], 3);
  OK(cuArrayDestroy(array));
}
