// What is not mapped, or not for this, is error 700 in every form of copy and fill, and it stays.
#include <functional>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

// Two granules of addresses: the first mapped, the second not.
struct HalfMapped {
  HalfMapped() {
    OK(cuMemAddressReserve(&at, 2 * granule, 0, 0, 0));
    handle = create(granule);
    map(at, granule, handle);
  }
  ~HalfMapped() {
    (void)cuMemUnmap(at, granule);
    (void)cuMemRelease(handle);
    (void)cuMemAddressFree(at, 2 * granule);
  }
  HalfMapped(const HalfMapped&) = delete;
  HalfMapped& operator=(const HalfMapped&) = delete;
  CUdeviceptr absent() const { return at + granule; }
  CUdeviceptr at = 0;
  CUmemGenericAllocationHandle handle = 0;
};

// In a context of its own: the error is answered by the call or by the next synchronisation, and by all after it.
void faults(const char* name, const std::function<CUresult(CUdeviceptr there, CUdeviceptr absent)>& call) {
  CAPTURE(name);
  const HalfMapped memory;
  const TestContext context;
  const CUresult first = call(memory.at, memory.absent());
  CHECK((first == CUDA_SUCCESS || first == CUDA_ERROR_ILLEGAL_ADDRESS));
  CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK_EQ(cuMemsetD8_v2(memory.at, 0, 1), CUDA_ERROR_ILLEGAL_ADDRESS);  // sticky
}

char host[256];

CUDA_MEMCPY2D rows(CUdeviceptr from, CUdeviceptr to) {
  CUDA_MEMCPY2D c{};
  c.srcMemoryType = c.dstMemoryType = CU_MEMORYTYPE_UNIFIED;
  c.srcDevice = from;
  c.dstDevice = to;
  c.WidthInBytes = 16;
  c.Height = 4;
  return c;
}

CUarray small_array() {
  const CUDA_ARRAY3D_DESCRIPTOR shape{64, 0, 0, CU_AD_FORMAT_UNSIGNED_INT8, 1, 0};
  CUarray array = nullptr;
  OK(cuArray3DCreate_v2(&array, &shape));
  return array;
}

}  // namespace

TEST_CASE("copies of one row that touch what is not mapped are error 700") {
  const auto address = reinterpret_cast<CUdeviceptr>(host);
  faults("HtoD", [](auto, auto absent) { return cuMemcpyHtoD_v2(absent, host, 64); });
  faults("HtoDAsync", [](auto, auto absent) { return cuMemcpyHtoDAsync_v2(absent, host, 64, nullptr); });
  faults("DtoH", [](auto, auto absent) { return cuMemcpyDtoH_v2(host, absent, 64); });
  faults("DtoHAsync", [](auto, auto absent) { return cuMemcpyDtoHAsync_v2(host, absent, 64, nullptr); });
  faults("DtoD to", [](auto there, auto absent) { return cuMemcpyDtoD_v2(absent, there, 64); });
  faults("DtoD from", [](auto there, auto absent) { return cuMemcpyDtoDAsync_v2(there, absent, 64, nullptr); });
  faults("generic", [=](auto, auto absent) { return cuMemcpy(absent, address, 64); });
  faults("generic async", [=](auto, auto absent) { return cuMemcpyAsync(address, absent, 64, nullptr); });
  faults("across the end", [](auto, auto absent) { return cuMemcpyHtoD_v2(absent - 32, host, 64); });
}

TEST_CASE("copies of rows and batches that touch what is not mapped are error 700") {
  const auto address = reinterpret_cast<CUdeviceptr>(host);
  faults("2D to", [=](auto, auto absent) {
    const auto c = rows(address, absent);
    return cuMemcpy2D_v2(&c);
  });
  faults("2D from", [=](auto, auto absent) {
    const auto c = rows(absent, address);
    return cuMemcpy2DAsync_v2(&c, nullptr);
  });
  faults("2D last row", [](auto there, auto absent) {
    const auto c = rows(there, absent - 48);
    return cuMemcpy2DUnaligned_v2(&c);
  });
  faults("batch", [](auto there, auto absent) {
    CUdeviceptr to[] = {absent}, from[] = {there};
    std::size_t size = 64, first = 0;
    CUmemcpyAttributes attributes{};
    attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
    return cuMemcpyBatchAsync_v2(to, from, &size, 1, &attributes, &first, 1, CU_STREAM_PER_THREAD);
  });
  faults("array from", [](auto, auto absent) { return cuMemcpyDtoA_v2(small_array(), 0, absent, 64); });
  faults("array to", [](auto, auto absent) { return cuMemcpyAtoD_v2(absent, small_array(), 0, 64); });
}

TEST_CASE("fills of what is not mapped are error 700") {
  faults("D8", [](auto, auto absent) { return cuMemsetD8_v2(absent, 1, 64); });
  faults("D16 async", [](auto, auto absent) { return cuMemsetD16Async(absent, 1, 64, nullptr); });
  faults("D32 across the end", [](auto, auto absent) { return cuMemsetD32_v2(absent - 32, 1, 16); });
  faults("2D", [](auto, auto absent) { return cuMemsetD2D8_v2(absent - 48, 16, 1, 16, 4); });
  faults("2D async", [](auto, auto absent) { return cuMemsetD2D32Async(absent - 48, 16, 1, 4, 4, nullptr); });
}

TEST_CASE("rows are there although between them nothing is") {
  const TestContext context;
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, 4 * granule, 0, 0, 0));
  const auto first = create(granule), third = create(granule);
  map(at, granule, first);
  map(at + 2 * granule, granule, third);
  OK(cuMemsetD2D8_v2(at, 2 * granule, 7, 64, 2));
  auto copy = rows(at, at + 128);
  copy.srcPitch = copy.dstPitch = 2 * granule;
  copy.Height = 2;
  OK(cuMemcpy2D_v2(&copy));
  OK(cuCtxSynchronize());
  std::uint8_t seen = 0;
  OK(cuMemcpyDtoH_v2(&seen, at + 2 * granule + 128, 1));
  CHECK_EQ(seen, 7);
  OK(cuMemUnmap(at, granule));
  OK(cuMemUnmap(at + 2 * granule, granule));
  OK(cuMemRelease(first));
  OK(cuMemRelease(third));
  OK(cuMemAddressFree(at, 4 * granule));
}

TEST_CASE("memory mapped to be read is a source and no destination") {
  const HalfMapped memory;
  const auto read_only = device_access(CU_MEM_ACCESS_FLAGS_PROT_READ);
  OK(cuMemSetAccess(memory.at, granule, &read_only, 1));
  {
    const TestContext context;
    OK(cuMemcpyDtoH_v2(host, memory.at, 64));
    CHECK_EQ(cuMemcpyHtoD_v2(memory.at, host, 64), CUDA_ERROR_ILLEGAL_ADDRESS);
  }
  const TestContext context;
  OK(cuMemsetD8_v2(memory.at, 1, 64));
  CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_CASE("a small copy that has returned faults later if its destination goes before it is done") {
  const TestContext context;
  const HalfMapped memory;
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  CUdeviceptr flag = 0;
  OK(cuMemAlloc_v2(&flag, 4));
  OK(cuMemsetD32_v2(flag, 0, 1));
  OK(cuCtxSynchronize());
  OK(launch(kernel("spin"), 1, s, {&flag}));
  OK(cuMemcpyHtoDAsync_v2(memory.at, host, 64, s));
  OK(cuMemUnmap(memory.at, granule));
  OK(cuMemsetD32_v2(flag, 1, 1));
  CHECK_EQ(cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
  map(memory.at, granule, memory.handle);  // for the end of this test
}
