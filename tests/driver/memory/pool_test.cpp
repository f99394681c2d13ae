#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUmemPoolProps device_pool(std::size_t largest = 0) {
  CUmemPoolProps props{};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  props.maxSize = largest;
  return props;
}

// A pool that keeps what it has, for one test.
struct TestPool {
  CUmemoryPool handle = nullptr;
  explicit TestPool(cuuint64_t threshold = UINT64_MAX, std::size_t largest = 0) {
    const auto props = device_pool(largest);
    OK(cuMemPoolCreate(&handle, &props));
    OK(cuMemPoolSetAttribute(handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
  }
  ~TestPool() {
    for (const CUdeviceptr d : blocks) (void)cuMemFree_v2(d);  // most are gone already
    (void)cuMemPoolDestroy(handle);
  }
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;

  std::uint64_t get(CUmemPool_attribute attribute) const {
    cuuint64_t value = 0;
    OK(cuMemPoolGetAttribute(handle, attribute, &value));
    return value;
  }
  void set(CUmemPool_attribute attribute, int value) const { OK(cuMemPoolSetAttribute(handle, attribute, &value)); }
  CUdeviceptr allocate(std::size_t bytes, CUstream stream) const {
    CUdeviceptr d = 0;
    OK(cuMemAllocFromPoolAsync(&d, bytes, handle, stream));
    blocks.push_back(d);
    return d;
  }
  mutable std::vector<CUdeviceptr> blocks;
};

// A stream that has not got further than this, until it is let go.
struct Blocked {
  CUstream stream = new_stream(), other = new_stream();
  CUdeviceptr flag = 0;
  Blocked() {
    OK(cuMemAlloc_v2(&flag, 4));
    OK(cuMemsetD32_v2(flag, 0, 1));
    OK(cuCtxSynchronize());
    OK(launch(kernel("spin"), 1, stream, {&flag}));
  }
  void let_go() const { OK(cuMemsetD32Async(flag, 1, 1, other)); }
};

}  // namespace

TEST_CASE("memory freed to a pool stays with it up to its release threshold") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const TestPool pool(4 * granule);
  const CUstream s = new_stream();
  const CUdeviceptr a = pool.allocate(4 * granule, s), b = pool.allocate(3 * granule, s);
  OK(cuMemFreeAsync(a, s));
  OK(cuMemFreeAsync(b, s));
  OK(cuStreamSynchronize(s));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 4 * granule);
  CHECK_EQ(free_bytes(), free_at_first - 4 * granule);
}

TEST_CASE("a threshold is honoured at the next synchronisation of a stream, an event or the context") {
  const TestContext context;
  const TestPool pool(0);
  const CUstream s = new_stream();
  CUevent event = nullptr;
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  const std::size_t free_at_first = free_bytes();
  for (int way = 0; way < 3; ++way) {
    OK(cuMemFreeAsync(pool.allocate(granule, s), s));
    OK(cuEventRecord(event, s));
    CHECK_EQ(free_bytes(), free_at_first - granule);
    if (way == 0) OK(cuStreamSynchronize(s));
    if (way == 1) OK(cuEventSynchronize(event));
    if (way == 2) OK(cuCtxSynchronize());
    CHECK_EQ(free_bytes(), free_at_first);
  }
  OK(cuEventDestroy_v2(event));
}

TEST_CASE("a stream may have at once what it freed itself") {
  const TestContext context;
  const TestPool pool;
  const Blocked blocked;  // so the free has not happened
  const CUdeviceptr a = pool.allocate(granule, blocked.stream);
  OK(cuMemFreeAsync(a, blocked.stream));
  CHECK_EQ(pool.allocate(granule, blocked.stream), a);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), granule);
  blocked.let_go();
  OK(cuMemFreeAsync(a, blocked.stream));
  OK(cuCtxSynchronize());
}

TEST_CASE("another stream does not get memory whose free its stream has not reached") {
  const TestContext context;
  const TestPool pool;
  const Blocked blocked;
  const CUdeviceptr a = pool.allocate(granule, blocked.stream);
  OK(cuMemFreeAsync(a, blocked.stream));
  const CUdeviceptr b = pool.allocate(granule, blocked.other);
  CHECK_NE(a, b);
  blocked.let_go();
  OK(cuStreamSynchronize(blocked.stream));
  CHECK_EQ(pool.allocate(granule, blocked.other), a);
}

TEST_CASE("a completed free is reused by other streams only where opportunistic reuse is allowed") {
  const TestContext context;
  const TestPool pool;
  pool.set(CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, 0);
  const CUstream s = new_stream(), t = new_stream();
  const CUdeviceptr a = pool.allocate(granule, s);
  OK(cuMemFreeAsync(a, s));
  CHECK(eventually([&] { return cuStreamQuery(s) == CUDA_SUCCESS; }));
  const CUdeviceptr b = pool.allocate(granule, t);
  CHECK_NE(a, b);
  pool.set(CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, 1);
  CHECK_EQ(pool.allocate(granule, t), a);
}

TEST_CASE("a pool at its largest size makes the allocating stream wait for a free, if it may") {
  const TestContext context;
  const TestPool pool(UINT64_MAX, granule);
  const Blocked blocked;
  const CUdeviceptr a = pool.allocate(granule, blocked.stream);
  OK(cuMemFreeAsync(a, blocked.stream));
  const CUstream s = new_stream();
  CUdeviceptr b = 0;
  pool.set(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 0);
  CHECK_EQ(cuMemAllocFromPoolAsync(&b, granule, pool.handle, s), CUDA_ERROR_OUT_OF_MEMORY);
  pool.set(CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 1);
  OK(cuMemAllocFromPoolAsync(&b, granule, pool.handle, s));
  CHECK_EQ(b, a);
  CHECK_EQ(cuStreamQuery(s), CUDA_ERROR_NOT_READY);  // behind the other stream's free
  blocked.let_go();
  OK(cuStreamSynchronize(s));
}

TEST_CASE("a pool's largest size is never exceeded") {
  const TestContext context;
  const TestPool pool(UINT64_MAX, 2 * granule);
  CUdeviceptr d = 0;
  CHECK_EQ(cuMemAllocFromPoolAsync(&d, 3 * granule, pool.handle, nullptr), CUDA_ERROR_OUT_OF_MEMORY);
  const CUdeviceptr a = pool.allocate(granule, nullptr), b = pool.allocate(granule, nullptr);
  CHECK_EQ(cuMemAllocFromPoolAsync(&d, 1, pool.handle, nullptr), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemFree_v2(a));
  OK(cuMemFree_v2(b));
}

TEST_CASE("high water marks stay until they are set to zero, and to nothing else") {
  const TestContext context;
  const TestPool pool;
  const CUdeviceptr a = pool.allocate(3 * granule, nullptr);
  OK(cuMemFree_v2(a));
  const CUdeviceptr b = pool.allocate(granule, nullptr);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_USED_MEM_HIGH), 3 * granule);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT), granule);
  cuuint64_t value = 5;
  CHECK_EQ(cuMemPoolSetAttribute(pool.handle, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &value), CUDA_ERROR_INVALID_VALUE);
  value = 0;
  OK(cuMemPoolSetAttribute(pool.handle, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &value));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_USED_MEM_HIGH), granule);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 3 * granule);
  OK(cuMemFree_v2(b));
  OK(cuMemPoolTrimTo(pool.handle, 0));
  OK(cuMemPoolSetAttribute(pool.handle, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, &value));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), 0);
  CHECK_EQ(cuMemPoolSetAttribute(pool.handle, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &value), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("trimming keeps at least what it is told to keep, and what is in use") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const TestPool pool;
  CUdeviceptr blocks[4];
  for (CUdeviceptr& d : blocks) d = pool.allocate(granule, nullptr);
  for (int i = 0; i < 3; ++i) OK(cuMemFree_v2(blocks[i]));
  OK(cuMemPoolTrimTo(pool.handle, 3 * granule));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), 3 * granule);
  OK(cuMemPoolTrimTo(pool.handle, 0));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), granule);
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemFree_v2(blocks[3]));
}

TEST_CASE("memory that a pool keeps is given back when anything else needs it") {
  const TestContext context;
  const std::size_t all = free_bytes();
  const TestPool pool;
  OK(cuMemFree_v2(pool.allocate(all, nullptr)));
  CHECK_EQ(free_bytes(), 0);
  OK(cuMemRelease(create(all)));  // cuMemCreate
  OK(cuMemFree_v2(pool.allocate(all, nullptr)));
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, all));
  OK(cuMemFree_v2(d));
  OK(cuMemFree_v2(pool.allocate(all, nullptr)));
  const TestContext another;  // a context's own memory
}

TEST_CASE("small allocations of a pool share its memory, each 512 bytes aligned") {
  const TestContext context;
  const TestPool pool;
  std::vector<CUdeviceptr> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(pool.allocate(100, nullptr));
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), granule);
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 1000 * 512);
  bool aligned = true;
  for (const CUdeviceptr d : blocks) aligned = aligned && d % 512 == 0;
  CHECK(aligned);
  for (const CUdeviceptr d : blocks) OK(cuMemFreeAsync(d, nullptr));
  OK(cuStreamSynchronize(nullptr));
  const CUdeviceptr whole = pool.allocate(granule, nullptr);  // the holes have become one
  CHECK_EQ(pool.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT), granule);
  OK(cuMemFree_v2(whole));
}

TEST_CASE("a pool destroyed while blocks are in use lets them live and goes with the last") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  CUmemoryPool pool = nullptr;
  const auto props = device_pool();
  CUdeviceptr d = 0;
  OK(cuMemPoolCreate(&pool, &props));
  OK(cuMemAllocFromPoolAsync(&d, granule, pool, nullptr));
  OK(cuMemPoolDestroy(pool));
  CHECK_EQ(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAllocFromPoolAsync(&d, granule, pool, nullptr), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemsetD8_v2(d, 1, granule));
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemFreeAsync(d, nullptr));
  OK(cuCtxSynchronize());
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("cuMemAllocAsync takes from the device's current pool, and a destroyed one is current no more") {
  const TestContext context;
  CUmemoryPool usual = nullptr, current = nullptr, own = nullptr;
  OK(cuDeviceGetDefaultMemPool(&usual, 0));
  OK(cuDeviceGetMemPool(&current, 0));
  CHECK_EQ(current, usual);
  const auto props = device_pool();
  OK(cuMemPoolCreate(&own, &props));
  OK(cuDeviceSetMemPool(0, own));
  CUdeviceptr d = 0;
  OK(cuMemAllocAsync(&d, 1000, nullptr));
  CUmemoryPool of_pointer = nullptr;
  OK(cuPointerGetAttribute(&of_pointer, CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE, d));
  CHECK_EQ(of_pointer, own);
  OK(cuMemFree_v2(d));
  OK(cuMemPoolDestroy(own));
  OK(cuDeviceGetMemPool(&current, 0));
  CHECK_EQ(current, usual);
  CHECK_EQ(cuMemPoolDestroy(usual), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("the pool of a location is that of its device; host and managed pools are not there") {
  CUmemoryPool by_device = nullptr, by_location = nullptr;
  CUmemLocation location{};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  OK(cuDeviceGetDefaultMemPool(&by_device, 0));
  OK(cuMemGetDefaultMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_PINNED));
  CHECK_EQ(by_device, by_location);
  OK(cuMemSetMemPool(&location, CU_MEM_ALLOCATION_TYPE_PINNED, by_device));
  OK(cuMemGetMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_PINNED));
  CHECK_EQ(by_device, by_location);
  CHECK_EQ(cuMemGetMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_MANAGED), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMemGetMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_INVALID), CUDA_ERROR_INVALID_VALUE);
  location.type = CU_MEM_LOCATION_TYPE_HOST;
  CHECK_EQ(cuMemGetMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_PINNED), CUDA_ERROR_NOT_SUPPORTED);
  location.type = CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
  CHECK_EQ(cuMemGetMemPool(&by_location, &location, CU_MEM_ALLOCATION_TYPE_PINNED), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("properties of a pool that make no sense are refused") {
  CUmemoryPool pool = nullptr;
  auto props = device_pool();
  props.location.id = 7;
  CHECK_EQ(cuMemPoolCreate(&pool, &props), CUDA_ERROR_INVALID_VALUE);
  props = device_pool();
  props.allocType = CU_MEM_ALLOCATION_TYPE_INVALID;
  CHECK_EQ(cuMemPoolCreate(&pool, &props), CUDA_ERROR_INVALID_VALUE);
  props = device_pool();
  props.reserved[3] = 1;
  CHECK_EQ(cuMemPoolCreate(&pool, &props), CUDA_ERROR_INVALID_VALUE);
  props = device_pool();
  props.location.type = CU_MEM_LOCATION_TYPE_HOST;
  CHECK_EQ(cuMemPoolCreate(&pool, &props), CUDA_ERROR_NOT_SUPPORTED);
  props.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CHECK_EQ(cuMemPoolCreate(&pool, &props), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPoolCreate(&pool, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a pool is reached by its own device and by no other") {
  const TestPool pool;
  CUmemLocation location{};
  location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;
  OK(cuMemPoolGetAccess(&flags, pool.handle, &location));
  CHECK_EQ(flags, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
  auto access = device_access();
  OK(cuMemPoolSetAccess(pool.handle, &access, 1));
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_NONE;  // its own device cannot be shut out
  CHECK_EQ(cuMemPoolSetAccess(pool.handle, &access, 1), CUDA_ERROR_INVALID_VALUE);
  access = device_access();
  access.location.id = 9;
  CHECK_EQ(cuMemPoolSetAccess(pool.handle, &access, 1), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a block freed twice, or used at a call after its free, is refused") {
  const TestContext context;
  const TestPool pool;
  const CUdeviceptr d = pool.allocate(granule, nullptr);
  OK(cuMemFreeAsync(d, nullptr));
  CHECK_EQ(cuMemFreeAsync(d, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemFree_v2(d), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemsetD8_v2(d, 1, 16), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemFreeAsync(d + 512, nullptr), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("work queued before a free is done although another allocation has the block by then") {
  const TestContext context;
  const TestPool pool;
  const Blocked blocked;
  const CUdeviceptr a = pool.allocate(granule, blocked.stream);
  OK(cuMemsetD8Async(a, 7, granule, blocked.stream));
  OK(cuMemFreeAsync(a, blocked.stream));
  const CUdeviceptr b = pool.allocate(512, blocked.stream);
  CHECK_EQ(b, a);
  blocked.let_go();
  OK(cuStreamSynchronize(blocked.stream));
  unsigned char byte = 0;
  OK(cuMemcpyDtoH_v2(&byte, b, 1));
  CHECK_EQ(byte, 7);
}

TEST_CASE("a kernel that uses pool memory after it has gone is error 700") {
  const TestContext context;
  const TestPool pool(0);
  CUdeviceptr d = pool.allocate(granule, nullptr);
  OK(cuMemFreeAsync(d, nullptr));
  OK(cuCtxSynchronize());  // above the threshold: given back
  std::uint32_t n = 1;
  OK(launch(kernel("add_one"), 1, nullptr, {&d, &n}));
  CHECK_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

TEST_CASE("pool memory outlives the context it was allocated in") {
  const TestContext watcher;
  const TestPool pool;
  const std::size_t free_at_first = free_bytes();
  CUdeviceptr d = 0;
  {
    const TestContext context;
    d = pool.allocate(granule, nullptr);
  }
  CHECK_EQ(free_bytes(), free_at_first - granule);
  OK(cuMemsetD8_v2(d, 1, granule));
  OK(cuMemFree_v2(d));
}

TEST_CASE("the graph memory of a device is empty before any graph has used it") {
  std::uint64_t used = 9, reserved = 9;
  OK(cuDeviceGraphMemTrim(0));
  OK(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used));
  OK(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT, &reserved));
  CHECK_EQ(used, 0);
  CHECK_EQ(reserved, 0);
  OK(cuDeviceSetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &used));
  used = 1;
  CHECK_EQ(cuDeviceSetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &used), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuDeviceGraphMemTrim(9), CUDA_ERROR_INVALID_DEVICE);
  CHECK_EQ(cuDeviceGetGraphMemAttribute(-1, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH, &used), CUDA_ERROR_INVALID_DEVICE);
}
