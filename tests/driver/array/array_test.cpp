#include <numeric>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUDA_ARRAY3D_DESCRIPTOR shape(std::size_t width, std::size_t height, std::size_t depth, unsigned flags = 0) {
  return {width, height, depth, CU_AD_FORMAT_UNSIGNED_INT32, 1, flags};
}

struct TestArray {
  explicit TestArray(const CUDA_ARRAY3D_DESCRIPTOR& of) { OK(cuArray3DCreate_v2(&handle, &of)); }
  ~TestArray() { (void)cuArrayDestroy(handle); }
  TestArray(const TestArray&) = delete;
  TestArray& operator=(const TestArray&) = delete;
  CUarray handle = nullptr;
};

CUresult created(const CUDA_ARRAY3D_DESCRIPTOR& of) {
  CUarray array = nullptr;
  const CUresult result = cuArray3DCreate_v2(&array, &of);
  if (result == CUDA_SUCCESS) OK(cuArrayDestroy(array));
  return result;
}

}  // namespace

TEST_CASE("an array costs native memory while it exists") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  {
    const TestArray array(shape(1024, 1024, 0));
    CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
    const TestArray small(shape(16, 16, 0)), sharing(shape(16, 16, 0));
    CHECK_EQ(free_bytes(), free_at_first - 3 * granule);
  }
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("an array that the card has no room for is out of memory") {
  const TestContext context;
  CHECK_EQ(created(shape(8192, 8192, 0)), CUDA_ERROR_OUT_OF_MEMORY);  // 256 MiB
}

TEST_CASE("a two-dimensional descriptor describes an array without depth or flags, and a height of 0 one dimension") {
  const TestContext context;
  const CUDA_ARRAY_DESCRIPTOR flat{64, 0, CU_AD_FORMAT_HALF, 4};
  CUarray array = nullptr;
  OK(cuArrayCreate_v2(&array, &flat));
  CUDA_ARRAY3D_DESCRIPTOR full{};
  CUDA_ARRAY_DESCRIPTOR again{};
  OK(cuArray3DGetDescriptor_v2(&full, array));
  OK(cuArrayGetDescriptor_v2(&again, array));
  CHECK_EQ(full.Width, 64);
  CHECK_EQ(full.Height, 0);
  CHECK_EQ(full.Depth, 0);
  CHECK_EQ(full.Flags, 0);
  CHECK_EQ(again.NumChannels, 4);
  CHECK_EQ(again.Format, CU_AD_FORMAT_HALF);
  OK(cuArrayDestroy(array));
  CHECK_EQ(cuArrayDestroy(array), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuArray3DGetDescriptor_v2(&full, array), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("an array has 1, 2 or 4 channels of a known format") {
  const TestContext context;
  auto wrong = shape(16, 16, 0);
  wrong.NumChannels = 3;
  CHECK_EQ(created(wrong), CUDA_ERROR_INVALID_VALUE);
  wrong.NumChannels = 1;
  wrong.Format = static_cast<CUarray_format>(0x7777);
  CHECK_EQ(created(wrong), CUDA_ERROR_INVALID_VALUE);
  wrong.Format = CU_AD_FORMAT_UNORM_INT8X2;
  CHECK_EQ(created(wrong), CUDA_ERROR_INVALID_VALUE);
  wrong.NumChannels = 2;
  OK(created(wrong));
}

TEST_CASE("block-compressed, video, sparse and deferred arrays are not supported") {
  const TestContext context;
  auto absent = shape(64, 64, 0, CUDA_ARRAY3D_SPARSE);
  CHECK_EQ(created(absent), CUDA_ERROR_NOT_SUPPORTED);
  absent.Flags = CUDA_ARRAY3D_DEFERRED_MAPPING;
  CHECK_EQ(created(absent), CUDA_ERROR_NOT_SUPPORTED);
  absent.Flags = 0;
  absent.Format = CU_AD_FORMAT_BC7_UNORM;
  CHECK_EQ(created(absent), CUDA_ERROR_NOT_SUPPORTED);
  absent.Format = CU_AD_FORMAT_P010;
  CHECK_EQ(created(absent), CUDA_ERROR_NOT_SUPPORTED);
  int sparse = 1;
  OK(cuDeviceGetAttribute(&sparse, CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED, 0));
  CHECK_EQ(sparse, 0);
}

TEST_CASE("the extents of an array follow the header's table") {
  const TestContext context;
  CHECK_EQ(created(shape(0, 0, 0)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(created(shape(0, 16, 0)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(created(shape(16, 0, 16)), CUDA_ERROR_INVALID_VALUE);  // depth without height, unless layered
  OK(created(shape(16, 0, 16, CUDA_ARRAY3D_LAYERED)));
  CHECK_EQ(created(shape(16, 16, 0, CUDA_ARRAY3D_LAYERED)), CUDA_ERROR_INVALID_VALUE);
  int widest = 0, widest_surface = 0;
  OK(cuDeviceGetAttribute(&widest, CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH, 0));
  OK(cuDeviceGetAttribute(&widest_surface, CU_DEVICE_ATTRIBUTE_MAXIMUM_SURFACE1D_WIDTH, 0));
  const auto width = static_cast<std::size_t>(widest), surface = static_cast<std::size_t>(widest_surface);
  CHECK_EQ(created(shape(width + 1, 0, 0)), CUDA_ERROR_INVALID_VALUE);
  OK(created(shape(width, 0, 0)));
  CHECK_EQ(created(shape(surface + 1, 0, 0, CUDA_ARRAY3D_SURFACE_LDST)), CUDA_ERROR_INVALID_VALUE);
  OK(created(shape(surface, 0, 0, CUDA_ARRAY3D_SURFACE_LDST)));
  CHECK_EQ(created(shape(SIZE_MAX, SIZE_MAX, SIZE_MAX)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(created(shape(16, 16, 0, 1u << 30)), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a cubemap is square and has six faces, a layered one a multiple of six") {
  const TestContext context;
  OK(created(shape(32, 32, 6, CUDA_ARRAY3D_CUBEMAP)));
  CHECK_EQ(created(shape(32, 16, 6, CUDA_ARRAY3D_CUBEMAP)), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(created(shape(32, 32, 12, CUDA_ARRAY3D_CUBEMAP)), CUDA_ERROR_INVALID_VALUE);
  OK(created(shape(32, 32, 12, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED)));
  CHECK_EQ(created(shape(32, 32, 8, CUDA_ARRAY3D_CUBEMAP | CUDA_ARRAY3D_LAYERED)), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("the planes of NV12 are one channel in full and two channels in half the size") {
  const TestContext context;
  auto video = shape(64, 32, 0);
  video.Format = CU_AD_FORMAT_NV12;
  video.NumChannels = 3;
  const TestArray array(video);
  CUarray plane = nullptr, again = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR of{};
  OK(cuArrayGetPlane(&plane, array.handle, 1));
  OK(cuArrayGetPlane(&again, array.handle, 1));
  CHECK_EQ(plane, again);
  OK(cuArray3DGetDescriptor_v2(&of, plane));
  CHECK_EQ(of.Width, 32);
  CHECK_EQ(of.Height, 16);
  CHECK_EQ(of.NumChannels, 2);
  CHECK_EQ(of.Format, CU_AD_FORMAT_UNSIGNED_INT8);
  CHECK_EQ(cuArrayGetPlane(&plane, array.handle, 2), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuArrayDestroy(plane), CUDA_ERROR_INVALID_HANDLE);  // it goes with its array
  const TestArray plain(shape(16, 16, 0));
  CHECK_EQ(cuArrayGetPlane(&plane, plain.handle, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("the levels of a mipmapped array halve, down to one element, and no more are made") {
  const TestContext context;
  const auto top = shape(64, 16, 0);
  CUmipmappedArray mipmapped = nullptr;
  OK(cuMipmappedArrayCreate(&mipmapped, &top, 100));
  CUarray level = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR of{};
  OK(cuMipmappedArrayGetLevel(&level, mipmapped, 6));
  OK(cuArray3DGetDescriptor_v2(&of, level));
  CHECK_EQ(of.Width, 1);
  CHECK_EQ(of.Height, 1);
  CHECK_EQ(cuMipmappedArrayGetLevel(&level, mipmapped, 7), CUDA_ERROR_INVALID_VALUE);
  OK(cuMipmappedArrayGetLevel(&level, mipmapped, 1));
  CHECK_EQ(cuArrayDestroy(level), CUDA_ERROR_INVALID_HANDLE);
  OK(cuMipmappedArrayDestroy(mipmapped));
  CHECK_EQ(cuArray3DGetDescriptor_v2(&of, level), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuMipmappedArrayDestroy(mipmapped), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("the layers of a mipmapped layered array stay as many on every level") {
  const TestContext context;
  const auto top = shape(16, 16, 5, CUDA_ARRAY3D_LAYERED);
  CUmipmappedArray mipmapped = nullptr;
  CUarray level = nullptr;
  CUDA_ARRAY3D_DESCRIPTOR of{};
  OK(cuMipmappedArrayCreate(&mipmapped, &top, 3));
  OK(cuMipmappedArrayGetLevel(&level, mipmapped, 2));
  OK(cuArray3DGetDescriptor_v2(&of, level));
  CHECK_EQ(of.Width, 4);
  CHECK_EQ(of.Depth, 5);
  OK(cuMipmappedArrayDestroy(mipmapped));
}

TEST_CASE("sparse properties and memory requirements are answered for arrays made so, invalid value for others") {
  const TestContext context;
  const TestArray array(shape(16, 16, 0));
  CUDA_ARRAY_SPARSE_PROPERTIES sparse{};
  CUDA_ARRAY_MEMORY_REQUIREMENTS memory{};
  CHECK_EQ(cuArrayGetSparseProperties(&sparse, array.handle), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuArrayGetSparseProperties(&sparse, nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuArrayGetMemoryRequirements(&memory, array.handle, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuArrayGetMemoryRequirements(&memory, array.handle, 99), CUDA_ERROR_INVALID_DEVICE);
}

TEST_CASE("destroying a context destroys its arrays") {
  const TestContext watcher;
  const std::size_t free_at_first = free_bytes();
  CUarray array = nullptr;
  CUmipmappedArray mipmapped = nullptr;
  {
    const TestContext context;
    const auto of = shape(256, 256, 0);
    OK(cuArray3DCreate_v2(&array, &of));
    OK(cuMipmappedArrayCreate(&mipmapped, &of, 4));
  }
  CHECK_EQ(free_bytes(), free_at_first);
  CUarray level = nullptr;
  CHECK_EQ(cuArrayDestroy(array), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuMipmappedArrayGetLevel(&level, mipmapped, 0), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("what is no array is an invalid handle") {
  const TestContext context;
  CUDA_ARRAY3D_DESCRIPTOR of{};
  int something = 0;
  CHECK_EQ(cuArrayDestroy(nullptr), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuArrayDestroy(reinterpret_cast<CUarray>(&something)), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuArray3DGetDescriptor_v2(&of, reinterpret_cast<CUarray>(8)), CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(cuArray3DGetDescriptor_v2(nullptr, nullptr), CUDA_ERROR_INVALID_VALUE);
}
