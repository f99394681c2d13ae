#include <numeric>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

std::vector<std::uint32_t> counting(std::size_t n) {
  std::vector<std::uint32_t> words(n);
  std::iota(words.begin(), words.end(), 100u);
  return words;
}

CUdeviceptr reserve(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  return at;
}

}  // namespace

TEST_CASE("memory that leaves and comes back at the same address is read by the next kernel bit for bit") {
  const TestContext context;
  const CUfunction add_one = kernel("add_one");
  constexpr std::uint32_t n = granule / 4;
  const auto before = counting(n);
  std::vector<std::uint32_t> evicted(n), after(n);
  const CUdeviceptr at = reserve(granule);
  const std::size_t free_at_first = free_bytes();

  auto handle = create(granule);
  map(at, granule, handle);
  OK(cuMemcpyHtoD_v2(at, before.data(), granule));
  CUdeviceptr words = at;
  std::uint32_t count = n;
  OK(launch(add_one, n, nullptr, {&words, &count}));
  OK(cuMemcpyDtoH_v2(evicted.data(), at, granule));
  OK(cuMemUnmap(at, granule));
  OK(cuMemRelease(handle));
  CHECK_EQ(free_bytes(), free_at_first);

  const auto other = create(granule);  // takes the place it had on the card
  handle = create(granule);
  map(at, granule, handle);
  OK(cuMemcpyHtoD_v2(at, evicted.data(), granule));
  OK(launch(add_one, n, nullptr, {&words, &count}));
  OK(cuMemcpyDtoH_v2(after.data(), at, granule));
  bool same = true;
  for (std::uint32_t i = 0; i < n; ++i) same = same && after[i] == before[i] + 2;
  CHECK(same);

  OK(cuMemUnmap(at, granule));
  OK(launch(add_one, n, nullptr, {&words, &count}));
  CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK_EQ(launch(add_one, n, nullptr, {&words, &count}), CUDA_ERROR_ILLEGAL_ADDRESS);  // sticky
  CHECK_EQ(cuStreamSynchronize(nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuMemRelease(handle));
  OK(cuMemRelease(other));
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("a copy to reserved memory that is not mapped is error 700, sticky") {
  const TestContext context;
  const CUdeviceptr at = reserve(granule);
  const std::uint32_t word = 1;
  CHECK_EQ(cuMemcpyHtoD_v2(at, &word, sizeof word), CUDA_ERROR_ILLEGAL_ADDRESS);
  CHECK_EQ(cuMemsetD8_v2(at, 0, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("a memset of memory that is mapped without access is error 700") {
  const TestContext context;
  const CUdeviceptr at = reserve(granule);
  const auto handle = create(granule);
  OK(cuMemMap(at, granule, 0, handle, 0));
  OK(cuMemsetD8_v2(at, 0, 16));
  CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuMemUnmap(at, granule));
  OK(cuMemRelease(handle));
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("an error of one context leaves the others alone") {
  const TestContext good;
  {
    const TestContext bad;
    const CUdeviceptr at = reserve(granule);
    const char byte = 1;
    CHECK_EQ(cuMemcpyHtoD_v2(at, &byte, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    OK(cuMemAddressFree(at, granule));
  }
  CUdeviceptr own = 0;
  OK(cuMemAlloc_v2(&own, 64));
  OK(cuMemFree_v2(own));
}

TEST_CASE("unmapping does not wait: a kernel that still uses the memory faults") {
  const TestContext context;
  const CUfunction spin = kernel("spin");
  CUdeviceptr at = reserve(granule);
  const auto handle = create(granule);
  map(at, granule, handle);
  OK(cuMemsetD8_v2(at, 0, granule));
  OK(cuCtxSynchronize());
  OK(launch(spin, 1, nullptr, {&at}));
  CHECK_EQ(cuStreamQuery(nullptr), CUDA_ERROR_NOT_READY);
  OK(cuMemUnmap(at, granule));
  CHECK_EQ(cuStreamSynchronize(nullptr), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuMemRelease(handle));
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("sizes of physical memory are multiples of the granularity") {
  std::size_t granularity = 0;
  const auto prop = device_memory();
  OK(cuMemGetAllocationGranularity(&granularity, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  CHECK_EQ(granularity, granule);
  CUmemGenericAllocationHandle handle = 0;
  CHECK_EQ(cuMemCreate(&handle, granule / 2, &prop, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemCreate(&handle, 0, &prop, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("physical memory is created without a context") {
  OK(cuCtxSetCurrent(nullptr));
  const auto handle = create(granule);
  OK(cuMemRelease(handle));
  CHECK_EQ(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a mapping has offset zero, lies in one reservation and covers nothing mapped") {
  const CUdeviceptr at = reserve(2 * granule);
  const auto handle = create(granule);
  CHECK_EQ(cuMemMap(at, granule, granule, handle, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemMap(at + 4096, granule, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemMap(at, 2 * granule, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);  // more than the handle has
  CHECK_EQ(cuMemMap(at + 2 * granule, granule, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemMap(at, granule, 0, handle, 0));
  CHECK_EQ(cuMemMap(at, granule, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAddressFree(at, 2 * granule), CUDA_ERROR_INVALID_VALUE);  // still mapped
  OK(cuMemUnmap(at, granule));
  CHECK_EQ(cuMemAddressFree(at, granule), CUDA_ERROR_INVALID_VALUE);  // not the size reserved
  OK(cuMemAddressFree(at, 2 * granule));
  OK(cuMemRelease(handle));
}

TEST_CASE("unmapping takes whole mappings, several in one call, and never a part of one") {
  const CUdeviceptr at = reserve(6 * granule);
  const auto two = create(2 * granule), one = create(granule);
  map(at, 2 * granule, two);
  map(at + 2 * granule, granule, one);
  CHECK_EQ(cuMemUnmap(at, granule), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemUnmap(at + granule, 2 * granule), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemUnmap(at, 4 * granule), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemUnmap(at, 3 * granule));
  CHECK_EQ(cuMemUnmap(at, 3 * granule), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemAddressFree(at, 6 * granule));
  OK(cuMemRelease(two));
  OK(cuMemRelease(one));
}

TEST_CASE("access is set for ranges that are fully mapped, over several handles") {
  const CUdeviceptr at = reserve(3 * granule);
  const auto a = create(granule), b = create(granule);
  const auto access = device_access();
  unsigned long long flags = 9;
  const CUmemLocation location = access.location;
  OK(cuMemMap(at, granule, 0, a, 0));
  OK(cuMemGetAccess(&flags, &location, at));
  CHECK_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_NONE);
  CHECK_EQ(cuMemSetAccess(at, 2 * granule, &access, 1), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemMap(at + granule, granule, 0, b, 0));
  OK(cuMemSetAccess(at, 2 * granule, &access, 1));
  OK(cuMemGetAccess(&flags, &location, at + granule));
  CHECK_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  OK(cuMemUnmap(at, 2 * granule));
  OK(cuMemRelease(a));
  OK(cuMemRelease(b));
  OK(cuMemAddressFree(at, 3 * granule));
}

TEST_CASE("memory released before it is unmapped stays until then, and its handle can be had again by address") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const CUdeviceptr at = reserve(granule);
  const auto handle = create(granule);
  map(at, granule, handle);
  OK(cuMemRelease(handle));
  CHECK_EQ(free_bytes(), free_at_first - granule);
  CUmemGenericAllocationHandle again = 0;
  OK(cuMemRetainAllocationHandle(&again, reinterpret_cast<void*>(at + 4096)));
  CHECK_EQ(again, handle);
  OK(cuMemUnmap(at, granule));
  CHECK_EQ(free_bytes(), free_at_first - granule);  // the reference just taken
  OK(cuMemRelease(again));
  CHECK_EQ(free_bytes(), free_at_first);
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("destroying a context frees its cuMemAlloc memory and no cuMemCreate memory") {
  const TestContext watcher;
  const std::size_t free_at_first = free_bytes();
  CUmemGenericAllocationHandle handle = 0;
  {
    const TestContext context;
    CUdeviceptr big = 0, small = 0;
    OK(cuMemAlloc_v2(&big, 3 * granule));
    OK(cuMemAlloc_v2(&small, 100));
    handle = create(granule);
    CHECK_EQ(free_bytes(), free_at_first - context_bytes - 5 * granule);
  }
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemRelease(handle));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("never more than the capacity is handed out") {
  const TestContext context;
  std::vector<CUmemGenericAllocationHandle> handles;
  const auto prop = device_memory();
  CUmemGenericAllocationHandle handle = 0;
  CUresult result = CUDA_SUCCESS;
  while ((result = cuMemCreate(&handle, 4 * granule, &prop, 0)) == CUDA_SUCCESS) handles.push_back(handle);
  CHECK_EQ(result, CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(handles.size(), (card_bytes - context_bytes) / (4 * granule));
  CHECK(free_bytes() < 4 * granule);
  for (const auto h : handles) OK(cuMemRelease(h));
  CHECK_EQ(free_bytes(), card_bytes - context_bytes);
}

TEST_CASE("the answers about a mapped address tell its reservation, and MAPPED follows the mapping") {
  const CUdeviceptr at = reserve(2 * granule);
  const auto handle = create(granule);
  map(at, granule, handle);
  CUdeviceptr start = 0;
  std::size_t size = 0;
  int mapped = 9;
  OK(cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at + 100));
  OK(cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at + 100));
  OK(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, at));
  CHECK_EQ(start, at);
  CHECK_EQ(size, 2 * granule);
  CHECK_EQ(mapped, 1);
  OK(cuMemUnmap(at, granule));
  OK(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, at));
  CHECK_EQ(mapped, 0);
  OK(cuMemRelease(handle));
  OK(cuMemAddressFree(at, 2 * granule));
  CHECK_EQ(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, at), CUDA_ERROR_INVALID_VALUE);
}
