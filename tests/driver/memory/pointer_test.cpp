#include <algorithm>
#include <iterator>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

template <class T>
T attribute(CUpointer_attribute which, CUdeviceptr at) {
  T value{};
  OK(cuPointerGetAttribute(&value, which, at));
  return value;
}

// Reserved addresses with memory in their second granule.
struct Partly {
  CUdeviceptr at = 0;
  CUmemGenericAllocationHandle handle = 0;
  explicit Partly(CUmemAllocationHandleType types = CU_MEM_HANDLE_TYPE_NONE) {
    auto prop = device_memory();
    prop.requestedHandleTypes = types;
    OK(cuMemCreate(&handle, granule, &prop, 0));
    OK(cuMemAddressReserve(&at, 3 * granule, 0, 0, 0));
    OK(cuMemMap(at + granule, granule, 0, handle, 0));
  }
  ~Partly() {
    (void)cuMemUnmap(at + granule, granule);
    (void)cuMemRelease(handle);
    (void)cuMemAddressFree(at, 3 * granule);
  }
  Partly(const Partly&) = delete;
  Partly& operator=(const Partly&) = delete;
  CUdeviceptr memory() const { return at + granule; }
};

}  // namespace

TEST_CASE("a buffer id is of one allocation, also when another has its address later") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 100));
  const CUdeviceptr before = d;
  const auto id = attribute<unsigned long long>(CU_POINTER_ATTRIBUTE_BUFFER_ID, d + 99);
  OK(cuMemFree_v2(d));
  OK(cuMemAlloc_v2(&d, 100));
  CHECK_EQ(attribute<unsigned long long>(CU_POINTER_ATTRIBUTE_BUFFER_ID, d) == id, false);
  CHECK_NE(before, 0);
  OK(cuMemFree_v2(d));
}

TEST_CASE("the mapping behind an address is told apart from the reserved range it lies in") {
  const Partly partly;
  const CUdeviceptr inside = partly.memory() + 100;
  CHECK_EQ(attribute<CUdeviceptr>(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, inside), partly.at);
  CHECK_EQ(attribute<std::size_t>(CU_POINTER_ATTRIBUTE_RANGE_SIZE, inside), 3 * granule);
  CHECK_EQ(attribute<CUdeviceptr>(CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR, inside), partly.memory());
  CHECK_EQ(attribute<std::size_t>(CU_POINTER_ATTRIBUTE_MAPPING_SIZE, inside), granule);
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_MAPPED, inside), 1);
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_MAPPED, partly.at), 0);
  CHECK_EQ(attribute<std::size_t>(CU_POINTER_ATTRIBUTE_MAPPING_SIZE, partly.at), 0);
}

TEST_CASE("a memory block id is of the physical memory, wherever it is mapped") {
  const Partly partly;
  const auto first = attribute<unsigned long long>(CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, partly.memory());
  OK(cuMemMap(partly.at, granule, 0, partly.handle, 0));
  CHECK_EQ(attribute<unsigned long long>(CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, partly.at), first);
  OK(cuMemUnmap(partly.at, granule));
  const Partly other;
  CHECK_NE(attribute<unsigned long long>(CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID, other.memory()), first);
}

TEST_CASE("access flags and handle types of mapped memory follow what was asked for") {
  const Partly partly(CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  const CUdeviceptr at = partly.memory();
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES, at), CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_ACCESS_FLAGS, at), CU_POINTER_ATTRIBUTE_ACCESS_FLAG_NONE);
  auto access = device_access(CU_MEM_ACCESS_FLAGS_PROT_READ);
  OK(cuMemSetAccess(at, granule, &access, 1));
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_ACCESS_FLAGS, at), CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READ);
  access = device_access();
  OK(cuMemSetAccess(at, granule, &access, 1));
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_ACCESS_FLAGS, at), CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE);
}

TEST_CASE("only memory of cuMemAlloc is fit for legacy IPC") {
  const TestContext context;
  const Partly partly;
  CUdeviceptr d = 0, pooled = 0, managed = 0;
  OK(cuMemAlloc_v2(&d, 100));
  OK(cuMemAllocAsync(&pooled, 100, nullptr));
  OK(cuMemAllocManaged(&managed, 100, CU_MEM_ATTACH_GLOBAL));
  constexpr auto capable = CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE;
  CHECK_EQ(attribute<int>(capable, d), 1);
  CHECK_EQ(attribute<int>(capable, pooled), 0);
  CHECK_EQ(attribute<int>(capable, managed), 0);
  CHECK_EQ(attribute<int>(capable, partly.memory()), 0);
  OK(cuMemFree_v2(d));
  OK(cuMemFree_v2(pooled));
  OK(cuMemFree_v2(managed));
}

TEST_CASE("with SYNC_MEMOPS a memset without a stream is over when it returns") {
  const TestContext context;
  constexpr std::size_t bytes = 40 * MiB;
  CUdeviceptr d = 0;
  unsigned on = 1;
  OK(cuMemAlloc_v2(&d, bytes));
  CHECK_EQ(attribute<unsigned>(CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, d), 0);
  OK(cuPointerSetAttribute(&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, d));
  CHECK_EQ(attribute<unsigned>(CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, d + 5), 1);
  for (int i = 0; i < 3; ++i) {
    OK(cuMemsetD8_v2(d, 1, bytes));
    CHECK_EQ(cuStreamQuery(nullptr), CUDA_SUCCESS);
  }
  CHECK_EQ(cuPointerSetAttribute(&on, CU_POINTER_ATTRIBUTE_BUFFER_ID, d), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuPointerSetAttribute(nullptr, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, d), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuPointerSetAttribute(&on, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, 4096), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(d));
}

TEST_CASE("attributes of what no device knows are invalid one by one, and zero together") {
  const TestContext context;
  int on_stack = 0;
  const auto at = reinterpret_cast<CUdeviceptr>(&on_stack);
  unsigned value = 0;
  CHECK_EQ(cuPointerGetAttribute(&value, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuPointerGetAttribute(nullptr, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at), CUDA_ERROR_INVALID_VALUE);
  unsigned type = 9;
  int ordinal = 9;
  CUcontext of = reinterpret_cast<CUcontext>(9);
  CUpointer_attribute which[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                 CU_POINTER_ATTRIBUTE_CONTEXT};
  void* values[] = {&type, &ordinal, &of};
  OK(cuPointerGetAttributes(3, which, values, at));
  CHECK_EQ(type, 0);
  CHECK_EQ(ordinal, -2);
  CHECK_EQ(of, nullptr);
}

TEST_CASE("what this card does not offer of its pointers is said so") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 100));
  CUDA_POINTER_ATTRIBUTE_P2P_TOKENS tokens{};
  CHECK_EQ(cuPointerGetAttribute(&tokens, CU_POINTER_ATTRIBUTE_P2P_TOKENS, d), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE, d), 0);
  CHECK_EQ(attribute<int>(CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE, d), 0);
  void* host = nullptr;
  CHECK_EQ(cuPointerGetAttribute(&host, CU_POINTER_ATTRIBUTE_HOST_POINTER, d), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuFlushGPUDirectRDMAWrites(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX,
                                      CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER),
           CUDA_ERROR_NOT_SUPPORTED);
  OK(cuMemFree_v2(d));
}

TEST_CASE("a device pointer is asked for in a context") {
  CUdeviceptr d = 0, seen = 0;
  {
    const TestContext context;
    const Partly partly;
    OK(cuPointerGetAttribute(&seen, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, partly.memory() + 7));
    CHECK_EQ(seen, partly.memory() + 7);
  }
  const Partly partly;
  OK(cuCtxSetCurrent(nullptr));
  CHECK_EQ(cuPointerGetAttribute(&d, CU_POINTER_ATTRIBUTE_DEVICE_POINTER, partly.memory()), CUDA_ERROR_INVALID_CONTEXT);
}

TEST_CASE("page-locked memory tells its context, its range and that it is the host's") {
  const TestContext context;
  void* host = nullptr;
  OK(cuMemHostAlloc(&host, 5000, 0));
  const auto at = reinterpret_cast<CUdeviceptr>(host);
  CHECK_EQ(attribute<unsigned>(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, at + 4999), CU_MEMORYTYPE_HOST);
  CHECK_EQ(attribute<CUcontext>(CU_POINTER_ATTRIBUTE_CONTEXT, at), context.handle);
  CHECK_EQ(attribute<void*>(CU_POINTER_ATTRIBUTE_HOST_POINTER, at), host);
  CHECK_EQ(attribute<std::size_t>(CU_POINTER_ATTRIBUTE_RANGE_SIZE, at), 5000);
  OK(cuMemFreeHost(host));
}

TEST_CASE("ten thousand small allocations share granules, each with its own range and 512 bytes aligned") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  std::vector<CUdeviceptr> all(10'000);
  bool exact = true, aligned = true;
  for (CUdeviceptr& d : all) OK(cuMemAlloc_v2(&d, 1000));
  for (const CUdeviceptr d : all) {
    CUdeviceptr base = 0;
    std::size_t size = 0;
    OK(cuMemGetAddressRange_v2(&base, &size, d + 999));
    exact = exact && base == d && size == 1000;
    aligned = aligned && d % 512 == 0;
  }
  CHECK(exact);
  CHECK(aligned);
  CHECK(free_at_first - free_bytes() <= 32 * MiB);
  for (const CUdeviceptr d : all) OK(cuMemFree_v2(d));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("the total of cuMemGetInfo is the device's, before and after the first context") {
  std::size_t before = 0, after = 0, free = 0, total = 0;
  OK(cuDeviceTotalMem_v2(&before, 0));
  const TestContext context;
  OK(cuMemGetInfo_v2(&free, &total));
  OK(cuDeviceTotalMem_v2(&after, 0));
  CHECK_EQ(before, card_bytes);
  CHECK_EQ(after, before);
  CHECK_EQ(total, before);
}

TEST_CASE("physical memory is of a device that is there, and of no kind that this card lacks") {
  CUmemGenericAllocationHandle handle = 0;
  auto prop = device_memory();
  prop.location.id = 5;
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 0), CUDA_ERROR_INVALID_DEVICE);
  prop = device_memory();
  prop.location.type = CU_MEM_LOCATION_TYPE_HOST_NUMA;
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);
  prop = device_memory();
  prop.location.type = CU_MEM_LOCATION_TYPE_INVALID;
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 0), CUDA_ERROR_INVALID_VALUE);
  prop = device_memory();
  prop.allocFlags.gpuDirectRDMACapable = 1;
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);
  prop = device_memory();
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemCreate(&handle, granule, nullptr, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("compression is a wish: what was granted is in the properties of the handle") {
  CUmemGenericAllocationHandle handle = 0;
  auto prop = device_memory();
  prop.allocFlags.compressionType = CU_MEM_ALLOCATION_COMP_GENERIC;
  OK(cuMemCreate(&handle, granule, &prop, 0));
  CUmemAllocationProp granted{};
  OK(cuMemGetAllocationPropertiesFromHandle(&granted, handle));
  CHECK_EQ(granted.allocFlags.compressionType, CU_MEM_ALLOCATION_COMP_NONE);
  OK(cuMemRelease(handle));
}

TEST_CASE("address space that cannot be had is refused, not wrapped around") {
  CUdeviceptr at = 0;
  CHECK_EQ(cuMemAddressReserve(&at, SIZE_MAX / 4096 * 4096, 0, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(cuMemAddressReserve(&at, granule, std::size_t{1} << 60, 0, 0), CUDA_ERROR_OUT_OF_MEMORY);
  CHECK_EQ(cuMemAddressReserve(&at, granule, 3 * granule, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemAddressReserve(&at, 0, 0, 0, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemUnmap(UINTPTR_MAX - 4096, SIZE_MAX), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemMap(SIZE_MAX / granule * granule, granule, 0, 1, 0), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("an address that was freed can be reserved again by its name") {
  CUdeviceptr at = 0, again = 0;
  OK(cuMemAddressReserve(&at, 4 * granule, 0, 0, 0));
  OK(cuMemAddressFree(at, 4 * granule));
  OK(cuMemAddressReserve(&again, 4 * granule, 0, at, 0));
  CHECK_EQ(again, at);
  OK(cuMemAddressFree(again, 4 * granule));
}

TEST_CASE("multicast objects are not there, as the device attribute tells") {
  int supported = 9;
  OK(cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, 0));
  CHECK_EQ(supported, 0);
  CUmemGenericAllocationHandle handle = 0;
  std::size_t granularity = 0;
  CUmulticastObjectProp prop{};
  prop.numDevices = 1;
  prop.size = granule;
  CHECK_EQ(cuMulticastCreate(&handle, &prop), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMulticastCreate(&handle, nullptr), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMulticastGetGranularity(&granularity, &prop, CU_MULTICAST_GRANULARITY_MINIMUM), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMulticastAddDevice(1, 9), CUDA_ERROR_INVALID_DEVICE);
  CHECK_EQ(cuMulticastBindMem(1, 0, 2, 0, granule, 0), CUDA_ERROR_INVALID_VALUE);
}
