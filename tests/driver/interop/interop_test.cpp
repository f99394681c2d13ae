#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

TEST_CASE("external memory is not supported, and no handle of it is one") {
  const TestContext context;
  CUexternalMemory memory = nullptr;
  CUDA_EXTERNAL_MEMORY_HANDLE_DESC of{};
  of.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD;
  CHECK_EQ(cuImportExternalMemory(&memory, &of), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuImportExternalMemory(nullptr, &of), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuImportExternalMemory(&memory, nullptr), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr d = 0;
  CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer{};
  CHECK_EQ(cuExternalMemoryGetMappedBuffer(&d, reinterpret_cast<CUexternalMemory>(&of), &buffer),
           CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuDestroyExternalMemory(nullptr), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("external semaphores are not supported, and no handle of one is one") {
  const TestContext context;
  CUexternalSemaphore semaphore = nullptr;
  CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC of{};
  CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS signal{};
  CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS wait{};
  CHECK_EQ(cuImportExternalSemaphore(&semaphore, &of), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuSignalExternalSemaphoresAsync(&semaphore, &signal, 1, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuSignalExternalSemaphoresAsync(&semaphore, &signal, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuWaitExternalSemaphoresAsync(nullptr, &wait, 1, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuWaitExternalSemaphoresAsync(&semaphore, &wait, 1, reinterpret_cast<CUstream>(&of)),
           CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuDestroyExternalSemaphore(semaphore), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("no graphics resource is registered, so none can be mapped") {
  const TestContext context;
  CUgraphicsResource resource = nullptr;
  CUdeviceptr d = 0;
  std::size_t bytes = 0;
  CHECK_EQ(cuGraphicsMapResources(1, &resource, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuGraphicsMapResources(1, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphicsUnmapResources(0, &resource, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuGraphicsResourceGetMappedPointer_v2(&d, &bytes, resource), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuGraphicsUnregisterResource(resource), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("what needs a context says so first") {
  OK(cuCtxSetCurrent(nullptr));
  CUexternalMemory memory = nullptr;
  CHECK_EQ(cuImportExternalMemory(&memory, nullptr), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(cuGraphicsUnregisterResource(nullptr), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_CASE("the device says that it has no tensor maps and no decompression, and the calls agree") {
  const TestContext context;
  int maps = 1, algorithms = 1;
  OK(cuDeviceGetAttribute(&maps, CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED, 0));
  OK(cuDeviceGetAttribute(&algorithms, CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_ALGORITHM_MASK, 0));
  CHECK_EQ(maps, 0);
  CHECK_EQ(algorithms, 0);
  alignas(128) CUtensorMap map{};
  CHECK_EQ(cuTensorMapReplaceAddress(&map, &map), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuTensorMapReplaceAddress(nullptr, &map), CUDA_ERROR_INVALID_VALUE);
  const cuuint64_t dims[] = {64, 64}, strides[] = {256};
  const cuuint32_t box[] = {8, 8}, steps[] = {1, 1};
  const auto encode = [&](CUtensorMap* out) {
    return cuTensorMapEncodeTiled(out, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, &map, dims, strides, box, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                  CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  CHECK_EQ(encode(&map), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(encode(nullptr), CUDA_ERROR_INVALID_VALUE);
  CUmemDecompressParams one{};
  CHECK_EQ(cuMemBatchDecompressAsync(&one, 1, 0, nullptr, nullptr), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMemBatchDecompressAsync(nullptr, 1, 0, nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}
