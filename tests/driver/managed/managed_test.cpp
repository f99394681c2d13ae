#include <numeric>

#include "tests/driver/card/clock.h"
#include "tests/driver/testing/test_support.h"

using namespace lull::sim;
using namespace lull::sim::test;

namespace {

constexpr CUmemLocation host_location{CU_MEM_LOCATION_TYPE_HOST, 0};
constexpr CUmemLocation device_location{CU_MEM_LOCATION_TYPE_DEVICE, 0};

CUdeviceptr allocate_managed(std::size_t bytes) {
  CUdeviceptr d = 0;
  OK(cuMemAllocManaged(&d, bytes, CU_MEM_ATTACH_GLOBAL));
  return d;
}

void prefetch(CUdeviceptr d, std::size_t bytes, const CUmemLocation& to) {
  OK(cuMemPrefetchAsync_v2(d, bytes, to, 0, nullptr));
  OK(cuCtxSynchronize());
}

CUstream own_stream() {
  CUstream s = nullptr;
  OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
  return s;
}

template <class T>
T attribute(CUdeviceptr d, std::size_t bytes, CUmem_range_attribute which) {
  T value{};
  OK(cuMemRangeGetAttribute(&value, sizeof value, which, d, bytes));
  return value;
}

std::size_t moved(Kind kind, CUdeviceptr d, std::uint64_t since_ns) {
  std::size_t bytes = 0;
  for (const Record& r : journal(kind)) {
    if (r.address == d && r.start_ns >= since_ns) bytes += r.bytes;
  }
  return bytes;
}

}  // namespace

TEST_CASE("managed memory is nowhere until it is used, then the device's, and reached from both sides") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = allocate_managed(granule);
  CHECK_EQ(free_bytes(), free_at_first);
  auto* words = reinterpret_cast<std::uint32_t*>(d);
  words[0] = 41;
  std::uint32_t n = 1;
  OK(launch(add_one, 1, nullptr, {&d, &n}));
  OK(cuCtxSynchronize());
  CHECK_EQ(words[0], 42);
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemFree_v2(d));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("managed memory is attached globally or to the host when it is allocated, and has a size") {
  const TestContext context;
  CUdeviceptr d = 0;
  CHECK_EQ(cuMemAllocManaged(&d, granule, CU_MEM_ATTACH_SINGLE), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAllocManaged(&d, granule, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAllocManaged(&d, 0, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAllocManaged(&d, SIZE_MAX, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAllocManaged(&d, 1, CU_MEM_ATTACH_HOST));
  unsigned managed = 0;
  OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, d));
  CHECK_EQ(managed, 1);
}

TEST_CASE("a prefetch moves the charge between card and host, and keeps the bytes") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const CUdeviceptr d = allocate_managed(4 * granule);
  auto* words = reinterpret_cast<std::uint32_t*>(d);
  std::iota(words, words + granule, 7u);
  prefetch(d, 4 * granule, device_location);
  CHECK_EQ(free_bytes(), free_at_first - 4 * granule);
  prefetch(d + granule, granule, host_location);
  CHECK_EQ(free_bytes(), free_at_first - 3 * granule);
  prefetch(d, 4 * granule, host_location);
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(words[granule - 1], 6u + granule);
}

TEST_CASE("a prefetch to the host of what is mostly read leaves it on the card as well") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const CUdeviceptr d = allocate_managed(2 * granule);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_READ_MOSTLY, device_location));
  prefetch(d, 2 * granule, device_location);
  prefetch(d, 2 * granule, host_location);
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_UNSET_READ_MOSTLY, device_location));
  prefetch(d, 2 * granule, host_location);
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("a prefetch takes the copy engine for what held data, and no time for what is there already") {
  const TestContext context;
  const std::uint64_t since_ns = now_ns();
  const CUdeviceptr d = allocate_managed(2 * granule);
  prefetch(d, 2 * granule, device_location);  // populated there: nothing crosses the link
  CHECK_EQ(moved(Kind::copy_h2d, d, since_ns), 0);
  prefetch(d, 2 * granule, host_location);
  CHECK_EQ(moved(Kind::copy_d2h, d, since_ns), 2 * granule);
  prefetch(d, granule, device_location);
  prefetch(d, granule, device_location);
  CHECK_EQ(moved(Kind::copy_h2d, d, since_ns), granule);
}

TEST_CASE("a prefetch happens in the order of its stream") {
  const TestContext context;
  const CUfunction spin = kernel("spin");
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr flag = 0;
  void* word = nullptr;
  OK(cuMemHostAlloc(&word, 4, 0));
  *static_cast<volatile std::uint32_t*>(word) = 0;
  OK(cuMemHostGetDevicePointer_v2(&flag, word, 0));
  const CUdeviceptr d = allocate_managed(granule);
  const CUstream s = own_stream();
  OK(launch(spin, 1, s, {&flag}));
  OK(cuMemPrefetchAsync_v2(d, granule, device_location, 0, s));
  CHECK_EQ(free_bytes(), free_at_first);
  *static_cast<volatile std::uint32_t*>(word) = 1;
  OK(cuStreamSynchronize(s));
  CHECK_EQ(free_bytes(), free_at_first - granule);
}

TEST_CASE("the older prefetch names a device or the host by number") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const CUdeviceptr d = allocate_managed(granule);
  OK(cuMemPrefetchAsync(d, granule, 0, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemPrefetchAsync(d, granule, CU_DEVICE_CPU, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(cuMemPrefetchAsync(d, granule, 99, nullptr), CUDA_ERROR_INVALID_DEVICE);
}

TEST_CASE("only managed memory is prefetched, to places that are, with no flags") {
  const TestContext context;
  CUdeviceptr plain = 0;
  OK(cuMemAlloc_v2(&plain, granule));
  CHECK_EQ(cuMemPrefetchAsync_v2(plain, granule, host_location, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  const CUdeviceptr d = allocate_managed(granule);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule + 1, host_location, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, 0, host_location, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, host_location, 1, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, {CU_MEM_LOCATION_TYPE_INVALID, 0}, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, {CU_MEM_LOCATION_TYPE_DEVICE, 7}, 0, nullptr), CUDA_ERROR_INVALID_DEVICE);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, {CU_MEM_LOCATION_TYPE_HOST_NUMA, 7}, 0, nullptr),
           CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("managed memory may be more than the card has: the rest is the host's and stays usable") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(card_bytes);
  prefetch(d, card_bytes, device_location);
  CHECK(free_bytes() < 64u << 10);
  OK(cuMemsetD32_v2(d, 9, card_bytes / 4));
  OK(cuCtxSynchronize());
  CHECK_EQ(reinterpret_cast<std::uint32_t*>(d)[card_bytes / 4 - 1], 9);
}

TEST_CASE("memory that cannot move drives managed memory to the host") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(card_bytes);
  prefetch(d, card_bytes, device_location);
  CUdeviceptr plain = 0;
  OK(cuMemAlloc_v2(&plain, 10 * granule));
  const auto handle = create(10 * granule);
  OK(cuMemRelease(handle));
  CHECK_EQ(cuMemAlloc_v2(&plain, card_bytes), CUDA_ERROR_OUT_OF_MEMORY);  // more than there ever is
}

TEST_CASE("a prefetch to a full card drives other managed memory away, not what cuMemAlloc holds") {
  const TestContext context;
  const std::size_t most = free_bytes();
  const CUdeviceptr first = allocate_managed(most), second = allocate_managed(4 * granule);
  prefetch(first, most, device_location);
  const std::uint64_t since_ns = now_ns();
  prefetch(second, 4 * granule, device_location);
  CHECK_EQ(free_bytes(), 0);
  CHECK_EQ(moved(Kind::copy_d2h, second, since_ns), 4 * granule);  // who made room, under the address that needed it
  OK(cuMemFree_v2(first));
  CHECK_EQ(free_bytes(), most - 4 * granule);
}

TEST_CASE("a batch of prefetches gives each range the location before it, on a stream that is not the null stream") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr ranges[] = {allocate_managed(granule), allocate_managed(granule), allocate_managed(granule)};
  std::size_t sizes[] = {granule, granule, granule}, first[] = {0, 2};
  CUmemLocation places[] = {device_location, host_location};
  const CUstream s = own_stream();
  OK(cuMemPrefetchBatchAsync(ranges, sizes, 3, places, first, 2, 0, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  CHECK_EQ(cuMemPrefetchBatchAsync(ranges, sizes, 3, places, first, 2, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchBatchAsync(ranges, sizes, 3, places, first, 2, 1, s), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchBatchAsync(ranges, sizes, 2, places, first, 2, 0, s), CUDA_ERROR_INVALID_VALUE);
  first[0] = 1;
  CHECK_EQ(cuMemPrefetchBatchAsync(ranges, sizes, 3, places, first, 2, 0, s), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPrefetchBatchAsync(ranges, sizes, 3, nullptr, first, 2, 0, s), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("discarded memory is nowhere, and a prefetch with it is what its location says") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = allocate_managed(2 * granule);
  std::size_t bytes = 2 * granule, first = 0;
  prefetch(d, bytes, device_location);
  const CUstream s = own_stream();
  OK(cuMemDiscardBatchAsync(&d, &bytes, 1, 0, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(free_bytes(), free_at_first);
  const std::uint64_t since_ns = now_ns();
  CUmemLocation place = device_location;
  OK(cuMemDiscardAndPrefetchBatchAsync(&d, &bytes, 1, &place, &first, 1, 0, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  CHECK_EQ(moved(Kind::copy_h2d, d, since_ns), 0);  // nothing to keep, so nothing to copy
}

TEST_CASE("what a prefetch was last asked for is told, whether or not it has happened") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(2 * granule);
  CHECK_EQ(attribute<int>(d, granule, CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION), CU_DEVICE_INVALID);
  prefetch(d, granule, device_location);
  CHECK_EQ(attribute<int>(d, granule, CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION), 0);
  CHECK_EQ(attribute<CUmemLocationType>(d, granule, CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION_TYPE),
           CU_MEM_LOCATION_TYPE_DEVICE);
  CHECK_EQ(attribute<int>(d, 2 * granule, CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION), CU_DEVICE_INVALID);
  prefetch(d + granule, granule, host_location);
  CHECK_EQ(attribute<int>(d + granule, granule, CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION), CU_DEVICE_CPU);
}

TEST_CASE("advice is kept for its range, taken back by its opposite, and told where all of a range has it") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(2 * granule);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_READ_MOSTLY, {}));
  CHECK_EQ(attribute<int>(d, granule, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY), 1);
  CHECK_EQ(attribute<int>(d, 2 * granule, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY), 0);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_UNSET_READ_MOSTLY, {}));
  CHECK_EQ(attribute<int>(d, granule, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY), 0);
  OK(cuMemAdvise_v2(d, 2 * granule, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host_location));
  CHECK_EQ(attribute<int>(d, 2 * granule, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION), CU_DEVICE_CPU);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, {CU_MEM_LOCATION_TYPE_HOST_NUMA, 0}));
  CHECK_EQ(attribute<CUmemLocationType>(d, granule, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION_TYPE),
           CU_MEM_LOCATION_TYPE_HOST_NUMA);
  CHECK_EQ(attribute<int>(d, 2 * granule, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION), CU_DEVICE_INVALID);
  OK(cuMemAdvise(d, granule, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, 0));
  CHECK_EQ(attribute<int>(d, granule, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION), 0);
}

TEST_CASE("the processors a range is accessed by are listed, the rest of the list is invalid") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(granule);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_ACCESSED_BY, device_location));
  int list[3] = {7, 7, 7};
  OK(cuMemRangeGetAttribute(list, sizeof list, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, d, granule));
  CHECK_EQ(list[0], 0);
  CHECK_EQ(list[1], CU_DEVICE_INVALID);
  CHECK_EQ(list[2], CU_DEVICE_INVALID);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_ACCESSED_BY, host_location));
  OK(cuMemRangeGetAttribute(list, sizeof list, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, d, granule));
  CHECK_EQ(list[0], CU_DEVICE_CPU);
  CHECK_EQ(list[1], 0);
  CHECK_EQ(cuMemRangeGetAttribute(list, 5, CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY, d, granule), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_ACCESSED_BY, {CU_MEM_LOCATION_TYPE_HOST_NUMA, 0}),
           CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("several attributes of a range are told at once, each in its own size") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(granule);
  OK(cuMemAdvise_v2(d, granule, CU_MEM_ADVISE_SET_READ_MOSTLY, {}));
  int mostly = 9, preferred = 9;
  void* data[] = {&mostly, &preferred};
  std::size_t sizes[] = {4, 4};
  CUmem_range_attribute which[] = {CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION};
  OK(cuMemRangeGetAttributes(data, sizes, which, 2, d, granule));
  CHECK_EQ(mostly, 1);
  CHECK_EQ(preferred, CU_DEVICE_INVALID);
  sizes[1] = 8;
  CHECK_EQ(cuMemRangeGetAttributes(data, sizes, which, 2, d, granule), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr plain = 0;
  OK(cuMemAlloc_v2(&plain, granule));
  sizes[1] = 4;
  CHECK_EQ(cuMemRangeGetAttributes(data, sizes, which, 2, plain, granule), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("managed memory is attached whole, and not singly to the null stream") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(granule);
  const CUstream s = own_stream();
  OK(cuStreamAttachMemAsync(s, d, 0, CU_MEM_ATTACH_SINGLE));
  OK(cuStreamAttachMemAsync(s, d, granule, CU_MEM_ATTACH_HOST));
  OK(cuStreamAttachMemAsync(nullptr, d, 0, CU_MEM_ATTACH_GLOBAL));
  CHECK_EQ(cuStreamAttachMemAsync(nullptr, d, 0, CU_MEM_ATTACH_SINGLE), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamAttachMemAsync(s, d, granule / 2, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuStreamAttachMemAsync(s, d, 0, 8), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr plain = 0;
  OK(cuMemAlloc_v2(&plain, granule));
  CHECK_EQ(cuStreamAttachMemAsync(s, plain, 0, CU_MEM_ATTACH_GLOBAL), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a prefetch cannot be captured") {
  const TestContext context;
  const CUdeviceptr d = allocate_managed(granule);
  const CUstream s = own_stream();
  CUgraph graph = nullptr;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, device_location, 0, s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  (void)cuStreamEndCapture(s, &graph);
  if (graph) OK(cuGraphDestroy(graph));
}

TEST_CASE("managed memory goes with its context, and then nothing of it is charged") {
  const TestContext watcher;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = 0;
  {
    const TestContext context;
    d = allocate_managed(3 * granule);
    prefetch(d, 3 * granule, device_location);
  }
  CHECK_EQ(free_bytes(), free_at_first);
  CHECK_EQ(cuMemPrefetchAsync_v2(d, granule, host_location, 0, nullptr), CUDA_ERROR_INVALID_VALUE);
}
