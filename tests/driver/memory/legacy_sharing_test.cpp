// Legacy handles of cuMemAlloc's memory, dma-buf, and pools of which blocks are lent one by one.
#include "tests/driver/memory/two_processes.h"

using namespace lull::sim::test;

namespace {

// Opens the legacy handle it is sent and tells what came of it.
struct OpenedReport {
  CUresult first, wrong_flags, freed, closed_once, closed_twice, closed_thrice;
  bool same_address;
  std::uint32_t word;
};
ChildRole opener("open-ipc", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  const int socket = inherited_socket();
  const auto handle = receive<CUipcMemHandle>(socket);
  OpenedReport report{};
  CUdeviceptr d = 0, again = 0;
  report.wrong_flags = cuIpcOpenMemHandle_v2(&d, handle, 0);
  report.first = cuIpcOpenMemHandle_v2(&d, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
  if (report.first == CUDA_SUCCESS) {
    OK(cuIpcOpenMemHandle_v2(&again, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
    report.same_address = d == again;
    report.word = word_at(d);
    OK(cuMemsetD32_v2(d, 5, 1));
    report.freed = cuMemFree_v2(d);
    report.closed_once = cuIpcCloseMemHandle(d);
    OK(cuMemsetD32_v2(d, 6, 1));
    OK(cuCtxSynchronize());
    report.closed_twice = cuIpcCloseMemHandle(d);
    report.closed_thrice = cuIpcCloseMemHandle(d);
  }
  send(socket, report);
  return 0;
});

OpenedReport opened_elsewhere(const CUipcMemHandle& handle) {
  const Sockets sockets;
  Child child("open-ipc", sockets.environment());
  send(sockets.here, handle);
  const auto report = receive<OpenedReport>(sockets.here);
  CHECK_EQ(child.wait(), 0);
  return report;
}

struct PoolReport {
  CUresult allocation, current, wrong_pool, freed;
  std::uint32_t word;
};
ChildRole pool_importer("import-pool", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  const int socket = inherited_socket(), fd = receive_fd(socket);
  CUmemoryPool pool = nullptr, usual = nullptr;
  OK(cuMemPoolImportFromShareableHandle(&pool, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)),
                                        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  auto data = receive<CUmemPoolPtrExportData>(socket);
  CUdeviceptr d = 0;
  PoolReport report{};
  OK(cuDeviceGetDefaultMemPool(&usual, 0));
  report.allocation = cuMemAllocFromPoolAsync(&d, 512, pool, nullptr);
  report.current = cuDeviceSetMemPool(0, pool);
  report.wrong_pool = cuMemPoolImportPointer(&d, usual, &data);
  OK(cuMemPoolImportPointer(&d, pool, &data));
  report.word = word_at(d);
  OK(cuMemsetD32_v2(d, 9, 1));
  OK(cuMemFreeAsync(d, nullptr));
  OK(cuCtxSynchronize());
  report.freed = cuMemFree_v2(d);
  OK(cuMemPoolDestroy(pool));
  send(socket, report);
  return 0;
});

}  // namespace

TEST_CASE("a legacy handle opens the memory of cuMemAlloc in another process, once for each open a close") {
  const TestContext context;
  CUdeviceptr first = 0, d = 0;
  OK(cuMemAlloc_v2(&first, 1000));
  OK(cuMemAlloc_v2(&d, 1000));  // not at the start of what lies behind it
  OK(cuMemsetD32_v2(d, 4, 1));
  OK(cuCtxSynchronize());
  CUipcMemHandle handle{};
  OK(cuIpcGetMemHandle(&handle, d));
  const auto report = opened_elsewhere(handle);
  CHECK_EQ(report.wrong_flags, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(report.first, CUDA_SUCCESS);
  CHECK(report.same_address);
  CHECK_EQ(report.word, 4);
  CHECK_EQ(report.freed, CUDA_ERROR_INVALID_VALUE);  // closing is the only way
  CHECK_EQ(report.closed_once, CUDA_SUCCESS);
  CHECK_EQ(report.closed_twice, CUDA_SUCCESS);
  CHECK_EQ(report.closed_thrice, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(word_at(d), 6);
  OK(cuMemFree_v2(d));
  OK(cuMemFree_v2(first));
}

TEST_CASE("a legacy handle of memory that has been freed opens nothing") {
  const TestContext context;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 3 * granule));
  CUipcMemHandle handle{};
  OK(cuIpcGetMemHandle(&handle, d));
  OK(cuMemFree_v2(d));
  CHECK_EQ(opened_elsewhere(handle).first, CUDA_ERROR_INVALID_HANDLE);
  CHECK_EQ(opened_elsewhere(CUipcMemHandle{}).first, CUDA_ERROR_INVALID_HANDLE);
}

TEST_CASE("a legacy handle is not opened in the process that made it") {
  const TestContext context;
  CUdeviceptr d = 0, opened = 0;
  OK(cuMemAlloc_v2(&d, granule));
  CUipcMemHandle handle{};
  OK(cuIpcGetMemHandle(&handle, d));
  CHECK_EQ(cuIpcOpenMemHandle_v2(&opened, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS), CUDA_ERROR_INVALID_CONTEXT);
  CHECK_EQ(cuIpcCloseMemHandle(d), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(d));
}

TEST_CASE("memory of cuMemCreate, of pools and inside of allocations has no legacy handle") {
  const TestContext context;
  CUipcMemHandle handle{};
  CUdeviceptr pooled = 0, d = 0;
  const auto made = create(granule);
  const CUdeviceptr mapped = map_somewhere(made, granule);
  OK(cuMemAllocAsync(&pooled, 1000, nullptr));
  OK(cuMemAlloc_v2(&d, granule));
  CHECK_EQ(cuIpcGetMemHandle(&handle, mapped), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuIpcGetMemHandle(&handle, pooled), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuIpcGetMemHandle(&handle, d + 512), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuIpcGetMemHandle(nullptr, d), CUDA_ERROR_INVALID_VALUE);
  OK(cuMemFree_v2(d));
  OK(cuMemFree_v2(pooled));
  OK(cuMemUnmap(mapped, granule));
  OK(cuMemRelease(made));
  OK(cuMemAddressFree(mapped, granule));
}

TEST_CASE("dma-buf is answered as not supported, as the attribute tells") {
  const TestContext context;
  int supported = 9;
  OK(cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 0));
  CHECK_EQ(supported, 0);
  int fd = -1;
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, granule));
  constexpr auto dma_buf = CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD;
  CHECK_EQ(cuMemGetHandleForAddressRange(&fd, d, granule, dma_buf, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMemGetHandleForAddressRange(&fd, d + 1, granule, dma_buf, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(fd, -1);
  OK(cuMemFree_v2(d));
}

TEST_CASE("a shared pool lends its blocks one by one, and makes no allocations elsewhere") {
  const TestContext context;
  CUmemoryPool usual = nullptr;
  OK(cuDeviceGetDefaultMemPool(&usual, 0));
  OK(cuMemPoolTrimTo(usual, 0));  // what other cases have left there would go in the middle of this one
  const std::size_t free_at_first = free_bytes();
  CUmemPoolProps props{};
  props.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  props.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  props.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemoryPool pool = nullptr;
  CUdeviceptr d = 0;
  CUmemPoolPtrExportData data{};
  int fd = -1;
  OK(cuMemPoolCreate(&pool, &props));
  OK(cuMemAllocFromPoolAsync(&d, 1000, pool, nullptr));
  OK(cuMemsetD32_v2(d, 8, 1));
  OK(cuCtxSynchronize());
  CHECK_EQ(cuMemPoolExportPointer(&data, d), CUDA_ERROR_INVALID_VALUE);  // the pool comes first
  OK(cuMemPoolExportToShareableHandle(&fd, pool, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  OK(cuMemPoolExportPointer(&data, d));
  const Sockets sockets;
  Child child("import-pool", sockets.environment());
  send_fd(sockets.here, fd);
  ::close(fd);
  send(sockets.here, data);
  const auto report = receive<PoolReport>(sockets.here);
  CHECK_EQ(child.wait(), 0);
  CHECK_EQ(report.allocation, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(report.current, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(report.wrong_pool, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(report.freed, CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(report.word, 8);
  CHECK_EQ(word_at(d), 9);
  OK(cuMemFree_v2(d));
  OK(cuMemPoolDestroy(pool));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("a pool that was not made for it is not exported") {
  CUmemoryPool usual = nullptr;
  int fd = -1;
  OK(cuDeviceGetDefaultMemPool(&usual, 0));
  constexpr auto descriptor = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CHECK_EQ(cuMemPoolExportToShareableHandle(&fd, usual, descriptor, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemPoolExportToShareableHandle(&fd, nullptr, descriptor, 0), CUDA_ERROR_INVALID_VALUE);
  CUmemoryPool imported = nullptr;
  const auto made = create_shareable(granule);
  const int other = export_fd(made);  // of memory, not of a pool
  CHECK_EQ(cuMemPoolImportFromShareableHandle(&imported, reinterpret_cast<void*>(static_cast<std::intptr_t>(other)),
                                              descriptor, 0),
           CUDA_ERROR_INVALID_VALUE);
  ::close(other);
  OK(cuMemRelease(made));
}
