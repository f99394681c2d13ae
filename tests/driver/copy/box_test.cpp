#include <bit>
#include <numeric>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes counting(std::size_t n) {
  Bytes bytes(n);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  return bytes;
}

CUarray make_array(std::size_t width, std::size_t height, std::size_t depth, unsigned flags = 0,
                   CUarray_format format = CU_AD_FORMAT_UNSIGNED_INT8) {
  const CUDA_ARRAY3D_DESCRIPTOR shape{width, height, depth, format, 1, flags};
  CUarray array = nullptr;
  OK(cuArray3DCreate_v2(&array, &shape));
  return array;
}

void from(CUDA_MEMCPY3D& c, const void* host) {
  c.srcMemoryType = CU_MEMORYTYPE_HOST;
  c.srcHost = host;
}
void from(CUDA_MEMCPY3D& c, CUdeviceptr device) {
  c.srcMemoryType = CU_MEMORYTYPE_DEVICE;
  c.srcDevice = device;
}
void from(CUDA_MEMCPY3D& c, CUarray array) {
  c.srcMemoryType = CU_MEMORYTYPE_ARRAY;
  c.srcArray = array;
}
void to(CUDA_MEMCPY3D& c, void* host) {
  c.dstMemoryType = CU_MEMORYTYPE_HOST;
  c.dstHost = host;
}
void to(CUDA_MEMCPY3D& c, CUdeviceptr device) {
  c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  c.dstDevice = device;
}
void to(CUDA_MEMCPY3D& c, CUarray array) {
  c.dstMemoryType = CU_MEMORYTYPE_ARRAY;
  c.dstArray = array;
}

template <class From, class To>
CUDA_MEMCPY3D box(From source, To destination, std::size_t width, std::size_t height, std::size_t depth) {
  CUDA_MEMCPY3D c{};
  from(c, source);
  to(c, destination);
  c.WidthInBytes = width;
  c.Height = height;
  c.Depth = depth;
  return c;
}

}  // namespace

TEST_CASE("a box goes through host, array, device memory, array and back") {
  const TestContext context;
  const Bytes source = counting(24 * 10 * 5);
  Bytes result(source.size(), 0);
  const CUarray first = make_array(24, 10, 5), second = make_array(24, 10, 5);
  const CUdeviceptr d = allocate(source.size());
  auto in = box(source.data(), first, 24, 10, 5);
  auto out = box(first, d, 24, 10, 5), again = box(d, second, 24, 10, 5);
  auto back = box(second, static_cast<void*>(result.data()), 24, 10, 5);
  OK(cuMemcpy3D_v2(&in));
  OK(cuMemcpy3DAsync_v2(&out, nullptr));
  OK(cuMemcpy3DAsync_v2(&again, nullptr));
  OK(cuMemcpy3D_v2(&back));
  CHECK(result == source);
}

TEST_CASE("offsets of a box choose its part: x in bytes, y in rows, z in slices") {
  const TestContext context;
  const Bytes source = counting(8 * 4 * 3);
  const CUarray array = make_array(8, 4, 3);
  auto in = box(source.data(), array, 8, 4, 3);
  OK(cuMemcpy3D_v2(&in));
  std::uint8_t seen[4] = {};
  auto part = box(array, static_cast<void*>(seen), 2, 2, 1);
  part.srcXInBytes = 3;
  part.srcY = 1;
  part.srcZ = 2;
  OK(cuMemcpy3D_v2(&part));
  const std::size_t first = 2 * 32 + 1 * 8 + 3;
  CHECK_EQ(seen[0], source[first]);
  CHECK_EQ(seen[1], source[first + 1]);
  CHECK_EQ(seen[2], source[first + 8]);
  CHECK_EQ(seen[3], source[first + 9]);
}

TEST_CASE("pitch and height place the rows and slices of memory") {
  const TestContext context;
  const Bytes source = counting(16 * 6 * 2);  // rows of 16, slices of 6 rows, of which 10 x 4 are wanted
  const CUdeviceptr d = allocate(10 * 4 * 2);
  auto in = box(source.data(), d, 10, 4, 2);
  in.srcPitch = 16;
  in.srcHeight = 6;
  in.srcXInBytes = 2;
  in.srcY = 1;
  OK(cuMemcpy3D_v2(&in));
  Bytes result(80);
  OK(cuMemcpyDtoH_v2(result.data(), d, result.size()));
  CHECK_EQ(result[0], source[1 * 16 + 2]);
  CHECK_EQ(result[10], source[2 * 16 + 2]);
  CHECK_EQ(result[40], source[6 * 16 + 1 * 16 + 2]);
  CHECK_EQ(result[79], source[6 * 16 + 4 * 16 + 11]);
}

TEST_CASE("a pitch is at least the width and the offset, at most what the device allows") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUdeviceptr d = allocate(64);
  auto copy = box(source.data(), d, 8, 4, 1);
  copy.srcPitch = 7;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.srcPitch = 8;
  copy.srcXInBytes = 1;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.srcXInBytes = 0;
  OK(cuMemcpy3D_v2(&copy));
  int most = 0;
  OK(cuDeviceGetAttribute(&most, CU_DEVICE_ATTRIBUTE_MAX_PITCH, 0));
  copy.dstPitch = static_cast<std::size_t>(most) + 1;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a height is at least the rows and their offset") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUdeviceptr d = allocate(64);
  auto copy = box(source.data(), d, 4, 4, 2);
  copy.srcHeight = 3;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.srcHeight = 4;
  copy.srcY = 1;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.srcY = 0;
  OK(cuMemcpy3D_v2(&copy));
}

TEST_CASE("a box lies inside its array") {
  const TestContext context;
  const Bytes source = counting(8 * 4 * 3);
  const CUarray array = make_array(8, 4, 3);
  auto copy = box(source.data(), array, 8, 4, 3);
  for (auto* offset : {&copy.dstXInBytes, &copy.dstY, &copy.dstZ}) {
    *offset = 1;
    CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
    *offset = SIZE_MAX;
    CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
    *offset = 0;
  }
  OK(cuMemcpy3D_v2(&copy));
}

TEST_CASE("offset and width in an array are multiples of its element size") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUarray words = make_array(8, 2, 0, 0, CU_AD_FORMAT_UNSIGNED_INT32);
  auto copy = box(source.data(), words, 8, 2, 1);
  copy.dstXInBytes = 2;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.dstXInBytes = 4;
  copy.WidthInBytes = 6;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.WidthInBytes = 8;
  OK(cuMemcpy3D_v2(&copy));
}

TEST_CASE("a box that is no box of addresses is refused, not computed") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUdeviceptr d = allocate(64);
  auto huge = box(source.data(), d, SIZE_MAX, 2, 2);
  CHECK_EQ(cuMemcpy3D_v2(&huge), CUDA_ERROR_INVALID_VALUE);
  auto far = box(source.data(), d, 4, 4, 4);
  far.srcZ = SIZE_MAX / 8;
  CHECK_EQ(cuMemcpy3D_v2(&far), CUDA_ERROR_INVALID_VALUE);
  auto tall = box(source.data(), d, 4, SIZE_MAX / 4, 1);
  CHECK_EQ(cuMemcpy3D_v2(&tall), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a level of detail and reserved fields are zero, and types are known") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUdeviceptr d = allocate(64);
  auto copy = box(source.data(), d, 4, 4, 1);
  copy.srcLOD = 1;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.srcLOD = 0;
  copy.reserved0 = &copy;
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  copy.reserved0 = nullptr;
  copy.srcMemoryType = std::bit_cast<CUmemorytype>(9);
  CHECK_EQ(cuMemcpy3D_v2(&copy), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpy3D_v2(nullptr), CUDA_ERROR_INVALID_VALUE);
  auto none = box(CUarray{}, d, 4, 4, 1);
  CHECK_EQ(cuMemcpy3D_v2(&none), CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a copy of no bytes succeeds and does nothing") {
  const TestContext context;
  const CUdeviceptr d = allocate(64);
  std::uint8_t byte = 7;
  for (int empty = 0; empty < 3; ++empty) {
    auto copy = box(d, static_cast<void*>(&byte), empty == 0 ? 0 : 1, empty == 1 ? 0 : 1, empty == 2 ? 0 : 1);
    OK(cuMemcpy3D_v2(&copy));
  }
  OK(cuMemcpyDtoH_v2(&byte, d, 0));
  OK(cuMemsetD8_v2(d, 1, 0));
  OK(cuMemsetD2D8_v2(d, 8, 1, 8, 0));
  CHECK_EQ(byte, 7);
}

TEST_CASE("a unified address goes the way its memory says") {
  const TestContext context;
  Bytes source = counting(64), result(64, 0);
  const CUdeviceptr d = allocate(64);
  CUDA_MEMCPY2D in{};
  in.srcMemoryType = in.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  in.srcDevice = reinterpret_cast<CUdeviceptr>(source.data());
  in.dstDevice = d;
  in.WidthInBytes = 8;
  in.Height = 8;
  OK(cuMemcpy2D_v2(&in));
  CUDA_MEMCPY2D out = in;
  out.srcDevice = d;
  out.dstDevice = reinterpret_cast<CUdeviceptr>(result.data());
  OK(cuMemcpy2DUnaligned_v2(&out));
  CHECK(result == source);
}

TEST_CASE("rows go between arrays and memory in one dimension") {
  const TestContext context;
  const Bytes source = counting(256);
  Bytes result(256, 0);
  const CUarray first = make_array(256, 0, 0), second = make_array(256, 0, 0);
  const CUdeviceptr d = allocate(256);
  OK(cuMemcpyHtoA_v2(first, 0, source.data(), 256));
  OK(cuMemcpyAtoA_v2(second, 16, first, 0, 240));
  OK(cuMemcpyAtoD_v2(d, second, 16, 240));
  OK(cuMemcpyDtoA_v2(first, 16, d, 240));
  OK(cuMemcpyAtoH_v2(result.data(), first, 16, 240));
  CHECK(std::equal(result.begin(), result.begin() + 240, source.begin()));
  OK(cuMemcpyAtoHAsync_v2(result.data(), second, 16, 1, nullptr));
  OK(cuMemcpyHtoAAsync_v2(first, 255, source.data(), 1, nullptr));
  OK(cuCtxSynchronize());
}

TEST_CASE("row copies stay in their array, which has one dimension") {
  const TestContext context;
  const Bytes source = counting(64);
  const CUarray row = make_array(32, 0, 0), plane = make_array(32, 2, 0);
  CHECK_EQ(cuMemcpyHtoA_v2(row, 1, source.data(), 32), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpyHtoA_v2(row, SIZE_MAX, source.data(), 2), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpyHtoA_v2(plane, 0, source.data(), 32), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpyHtoA_v2(nullptr, 0, source.data(), 32), CUDA_ERROR_INVALID_HANDLE);
  OK(cuMemcpyHtoA_v2(row, 0, source.data(), 32));
}

TEST_CASE("the layers of an array are its slices, and a level of a mipmap is an array") {
  const TestContext context;
  const Bytes source = counting(16 * 16 * 3);
  Bytes result(8 * 8 * 3, 0);
  const CUDA_ARRAY3D_DESCRIPTOR shape{16, 16, 3, CU_AD_FORMAT_UNSIGNED_INT8, 1, CUDA_ARRAY3D_LAYERED};
  CUmipmappedArray mipmapped = nullptr;
  CUarray top = nullptr, half = nullptr;
  OK(cuMipmappedArrayCreate(&mipmapped, &shape, 2));
  OK(cuMipmappedArrayGetLevel(&top, mipmapped, 0));
  OK(cuMipmappedArrayGetLevel(&half, mipmapped, 1));
  auto in = box(source.data(), top, 16, 16, 3);
  auto down = box(top, half, 8, 8, 3);
  auto out = box(half, static_cast<void*>(result.data()), 8, 8, 3);
  OK(cuMemcpy3D_v2(&in));
  OK(cuMemcpy3D_v2(&down));
  OK(cuMemcpy3D_v2(&out));
  CHECK_EQ(result[0], source[0]);
  CHECK_EQ(result[8], source[16]);
  CHECK_EQ(result[64 * 2 + 9], source[256 * 2 + 17]);
}

TEST_CASE("a planar array is copied plane by plane") {
  const TestContext context;
  const CUDA_ARRAY3D_DESCRIPTOR shape{32, 16, 0, CU_AD_FORMAT_NV12, 3, 0};
  CUarray video = nullptr, colours = nullptr;
  OK(cuArray3DCreate_v2(&video, &shape));
  OK(cuArrayGetPlane(&colours, video, 1));
  const Bytes source = counting(32 * 8);
  Bytes result(32 * 8, 0);
  auto whole = box(source.data(), video, 32, 8, 1);
  CHECK_EQ(cuMemcpy3D_v2(&whole), CUDA_ERROR_INVALID_VALUE);
  auto in = box(source.data(), colours, 32, 8, 1);
  auto out = box(colours, static_cast<void*>(result.data()), 32, 8, 1);
  OK(cuMemcpy3D_v2(&in));
  OK(cuMemcpy3D_v2(&out));
  CHECK(result == source);
}

TEST_CASE("a copy between contexts names contexts, and comes after the work of both") {
  const TestContext first;
  const CUdeviceptr a = allocate(64);
  OK(cuMemsetD8_v2(a, 5, 64));
  const TestContext second;
  const CUdeviceptr b = allocate(64);
  OK(cuMemcpyPeer(b, second.handle, a, first.handle, 64));
  std::uint8_t seen = 0;
  OK(cuMemcpyDtoH_v2(&seen, b + 63, 1));
  CHECK_EQ(seen, 5);
  CHECK_EQ(cuMemcpyPeer(b, nullptr, a, first.handle, 64), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(cuMemcpyPeerAsync(b, second.handle, a, reinterpret_cast<CUcontext>(&seen), 64, nullptr),
           CUDA_ERROR_INVALID_CONTEXT);
  CUDA_MEMCPY3D_PEER peer{};
  peer.srcMemoryType = peer.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  peer.srcDevice = a;
  peer.dstDevice = b;
  peer.srcContext = first.handle;
  peer.dstContext = second.handle;
  peer.WidthInBytes = 8;
  peer.Height = 8;
  peer.Depth = 1;
  OK(cuMemcpy3DPeer(&peer));
  OK(cuMemcpy3DPeerAsync(&peer, nullptr));
  peer.srcContext = nullptr;
  CHECK_EQ(cuMemcpy3DPeer(&peer), CUDA_ERROR_INVALID_CONTEXT);
}
