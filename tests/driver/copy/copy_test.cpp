#include <numeric>

#include "tests/driver/card/clock.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

struct Pinned {
  explicit Pinned(std::size_t bytes) { OK(cuMemHostAlloc(&p, bytes, 0)); }
  ~Pinned() { (void)cuMemFreeHost(p); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  void* p = nullptr;
};

// Addresses are used again by later tests, so those since a time.
std::vector<Record> copies_of(CUdeviceptr base, std::size_t bytes, Kind kind, std::uint64_t since_ns) {
  auto records = journal(kind);
  std::erase_if(
      records, [&](const Record& r) { return r.address < base || r.address >= base + bytes || r.start_ns < since_ns; });
  return records;
}

std::uint64_t expected_ns(std::size_t bytes) { return bytes * 1'000'000'000 / link_bytes_per_s; }

}  // namespace

TEST_CASE("queued copies are back to back in modelled time and take bytes by bandwidth") {
  const TestContext context;
  const std::uint64_t since_ns = now_ns();
  constexpr std::size_t pieces = 8, piece = granule;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, pieces * piece));
  const Pinned host(piece);
  CUstream s = nullptr;
  CUevent start = nullptr, end = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  OK(cuEventCreate(&start, 0));
  OK(cuEventCreate(&end, 0));
  OK(cuEventRecord(start, s));
  for (std::size_t i = 0; i < pieces; ++i) OK(cuMemcpyHtoDAsync_v2(d + i * piece, host.p, piece, s));
  OK(cuEventRecord(end, s));
  OK(cuEventSynchronize(end));
  const auto records = copies_of(d, pieces * piece, Kind::copy_h2d, since_ns);
  REQUIRE_EQ(records.size(), pieces);
  for (std::size_t i = 1; i < pieces; ++i) CHECK_EQ(records[i].start_ns, records[i - 1].end_ns);
  const auto took = static_cast<double>(records.back().end_ns - records.front().start_ns);
  CHECK(took == doctest::Approx(static_cast<double>(expected_ns(pieces * piece))).epsilon(0.03));
  CHECK(busy_ns(records, Kind::copy_h2d) == records.back().end_ns - records.front().start_ns);
  CHECK(records.back().written_ns >= records.back().end_ns);  // it really took that long
  float ms = 0;
  OK(cuEventElapsedTime_v2(&ms, start, end));
  CHECK(ms >= static_cast<float>(took / 1e6) * 0.999f);
}

TEST_CASE("the two directions have an engine each, and one direction is shared by all streams") {
  const TestContext context;
  const std::uint64_t since_ns = now_ns();
  constexpr std::size_t bytes = 4 * granule;
  CUdeviceptr in = 0, out = 0, in2 = 0;
  OK(cuMemAlloc_v2(&in, bytes));
  OK(cuMemAlloc_v2(&in2, bytes));
  OK(cuMemAlloc_v2(&out, bytes));
  const Pinned a(bytes), b(bytes), c(bytes);
  CUstream s[3];
  for (auto& stream : s) OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuMemcpyHtoDAsync_v2(in, a.p, bytes, s[0]));
  OK(cuMemcpyHtoDAsync_v2(in2, c.p, bytes, s[2]));
  OK(cuMemcpyDtoHAsync_v2(b.p, out, bytes, s[1]));
  OK(cuCtxSynchronize());
  const auto up = copies_of(in, bytes, Kind::copy_h2d, since_ns), up2 = copies_of(in2, bytes, Kind::copy_h2d, since_ns);
  const auto down = copies_of(out, bytes, Kind::copy_d2h, since_ns);
  REQUIRE_EQ(up.size(), 1);
  REQUIRE_EQ(up2.size(), 1);
  REQUIRE_EQ(down.size(), 1);
  CHECK((up2[0].start_ns >= up[0].end_ns || up[0].start_ns >= up2[0].end_ns));
  // Not behind the other direction: there it would begin at the very nanosecond at which one of these ends. How late a
  // busy machine lets its thread submit it says nothing.
  CHECK_NE(down[0].start_ns, up[0].end_ns);
  CHECK_NE(down[0].start_ns, up2[0].end_ns);
}

TEST_CASE("copies carry bytes: host to device, within the device, in rows, and back") {
  const TestContext context;
  std::vector<std::uint8_t> source(64 * 48), result(64 * 48, 0);
  std::iota(source.begin(), source.end(), std::uint8_t{1});
  CUdeviceptr pitched = 0, flat = 0;
  std::size_t pitch = 0;
  OK(cuMemAllocPitch_v2(&pitched, &pitch, 64, 48, 4));
  CHECK_EQ(pitch % 512, 0);
  OK(cuMemAlloc_v2(&flat, 64 * 48));
  CUDA_MEMCPY2D copy{};
  copy.srcMemoryType = CU_MEMORYTYPE_HOST;
  copy.srcHost = source.data();
  copy.srcPitch = 64;
  copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  copy.dstDevice = pitched;
  copy.dstPitch = pitch;
  copy.WidthInBytes = 64;
  copy.Height = 48;
  OK(cuMemcpy2D_v2(&copy));
  CUDA_MEMCPY2D within{};
  within.srcMemoryType = within.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  within.srcDevice = pitched;
  within.srcPitch = pitch;
  within.dstDevice = flat;
  within.dstPitch = 64;
  within.WidthInBytes = 64;
  within.Height = 48;
  OK(cuMemcpy2DAsync_v2(&within, nullptr));
  OK(cuMemcpy(reinterpret_cast<CUdeviceptr>(result.data()), flat, result.size()));
  CHECK(result == source);
}

TEST_CASE("memset writes its pattern and nothing beside it") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 64));
  OK(cuMemsetD8_v2(d, 0xEE, 64));
  OK(cuMemsetD32Async(d + 4, 0x01020304, 2, nullptr));
  OK(cuMemsetD16_v2(d + 16, 0xABCD, 1));
  std::uint8_t seen[64];
  OK(cuMemcpyDtoH_v2(seen, d, 64));
  CHECK_EQ(seen[3], 0xEE);
  CHECK_EQ(seen[4], 0x04);
  CHECK_EQ(seen[11], 0x01);
  CHECK_EQ(seen[12], 0xEE);
  CHECK_EQ(seen[16], 0xCD);
  CHECK_EQ(seen[18], 0xEE);
  CHECK_EQ(cuMemsetD32_v2(d + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);  // not aligned
}

TEST_CASE("an address that no device knows, or more than was allocated there, is refused at the call") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 100));
  char bytes[200] = "";
  CHECK_EQ(cuMemcpyHtoD_v2(reinterpret_cast<CUdeviceptr>(bytes), bytes, 100), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpyHtoD_v2(d, bytes, 101), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemcpyDtoH_v2(bytes, d + 1, 100), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemcpyHtoD_v2(d, bytes, 100));
  OK(cuMemFree_v2(d));
  CHECK_EQ(cuMemcpyHtoD_v2(d, bytes, 100), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("pageable host memory is not touched after the call") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 4 * granule));
  std::vector<char> host(4 * granule, 7);
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  OK(cuMemcpyHtoDAsync_v2(d, host.data(), host.size(), s));
  CHECK_EQ(cuStreamQuery(s), CUDA_SUCCESS);
  OK(cuMemHostRegister_v2(host.data(), host.size(), 0));
  CHECK_EQ(cuMemHostRegister_v2(host.data() + 5, 10, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  OK(cuMemcpyDtoHAsync_v2(host.data(), d, host.size(), s));
  CHECK_EQ(cuStreamQuery(s), CUDA_ERROR_NOT_READY);  // 8 ms at this link: page-locked memory is not waited for
  OK(cuStreamSynchronize(s));
  OK(cuMemHostUnregister(host.data()));
  CHECK_EQ(cuMemHostUnregister(host.data()), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}
