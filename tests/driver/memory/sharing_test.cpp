#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

CUmemAllocationProp shareable_memory() {
  auto prop = device_memory();
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return prop;
}

CUmemGenericAllocationHandle create_shareable(std::size_t bytes) {
  CUmemGenericAllocationHandle handle = 0;
  const auto prop = shareable_memory();
  OK(cuMemCreate(&handle, bytes, &prop, 0));
  return handle;
}

int export_fd(CUmemGenericAllocationHandle handle) {
  int fd = -1;
  OK(cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  return fd;
}

CUresult import_fd(CUmemGenericAllocationHandle* handle, int fd) {
  return cuMemImportFromShareableHandle(handle, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)),
                                        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
}

CUdeviceptr map_somewhere(CUmemGenericAllocationHandle handle, std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  map(at, bytes, handle);
  return at;
}

std::uint32_t word_at(CUdeviceptr at) {
  std::uint32_t word = 0;
  OK(cuMemcpyDtoH_v2(&word, at, 4));
  return word;
}

// Sockets carry descriptors and bytes between the processes of a case.
struct Sockets {
  int here = -1, there = -1;
  Sockets() {
    int pair[2];
    REQUIRE_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    here = pair[0];
    there = pair[1];
    ::fcntl(here, F_SETFD, FD_CLOEXEC);
  }
  ~Sockets() {
    ::close(here);
    ::close(there);
  }
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;
  std::vector<std::string> environment() const { return {"LULL_TEST_SOCKET=" + std::to_string(there)}; }
};
int inherited_socket() { return std::atoi(::getenv("LULL_TEST_SOCKET")); }

void send_fd(int socket, int fd) {
  char byte = 'f', control[CMSG_SPACE(sizeof fd)] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  REQUIRE_EQ(::sendmsg(socket, &message, 0), 1);
}

int receive_fd(int socket) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  REQUIRE_EQ(::recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
  int fd = -1;
  REQUIRE(CMSG_FIRSTHDR(&message));
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

template <class T>
void send(int socket, const T& value) {
  REQUIRE_EQ(::send(socket, &value, sizeof value, 0), static_cast<ssize_t>(sizeof value));
}
template <class T>
T receive(int socket) {
  T value{};
  REQUIRE_EQ(::recv(socket, &value, sizeof value, 0), static_cast<ssize_t>(sizeof value));
  return value;
}

void say(const char* text) {
  std::printf("%s\n", text);
  std::fflush(stdout);
}

// Imports what it is sent, adds one to its first word, and holds it until it is let go.
ChildRole importer("import-fd", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  const int fd = receive_fd(inherited_socket());
  CUmemGenericAllocationHandle handle = 0;
  OK(import_fd(&handle, fd));
  ::close(fd);
  const CUdeviceptr at = map_somewhere(handle, granule);
  OK(cuMemRelease(handle));  // the mapping alone holds it
  OK(cuMemsetD32_v2(at, word_at(at) + 1, 1));
  OK(cuCtxSynchronize());
  OK(cuCtxDestroy_v2(context));
  say("imported");
  (void)std::getchar();
  OK(cuMemUnmap(at, granule));
  say("unmapped");
  (void)std::getchar();
  return 0;
});

// Makes memory, sends it, and ends.
ChildRole exporter("export-fd", [] {
  OK(cuInit(0));
  CUcontext context = nullptr;
  OK(cuCtxCreate_v2(&context, 0, 0));
  const auto handle = create_shareable(granule);
  OK(cuMemsetD32_v2(map_somewhere(handle, granule), 77, granule / 4));
  OK(cuCtxSynchronize());
  send_fd(inherited_socket(), export_fd(handle));
  say("sent");
  (void)std::getchar();
  return 0;
});

ChildRole churner("churn-shared", [] {
  OK(cuInit(0));
  say("churning");
  while (true) {
    const auto handle = create_shareable(3 * granule);
    const int fd = export_fd(handle);
    OK(cuMemRelease(handle));
    CUmemGenericAllocationHandle again = 0;
    OK(import_fd(&again, fd));
    ::close(fd);
    OK(cuMemRelease(again));
  }
  return 0;
});

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

TEST_CASE("memory sent as a descriptor is the same memory in the other process") {
  const TestContext context;
  const auto handle = create_shareable(granule);
  const CUdeviceptr at = map_somewhere(handle, granule);
  OK(cuMemsetD32_v2(at, 41, 1));
  OK(cuCtxSynchronize());
  const Sockets sockets;
  Child child("import-fd", sockets.environment());
  const int fd = export_fd(handle);
  send_fd(sockets.here, fd);
  ::close(fd);
  REQUIRE_EQ(child.line(), "imported");
  CHECK_EQ(word_at(at), 42);
  OK(cuMemUnmap(at, granule));
  OK(cuMemRelease(handle));
  OK(cuMemAddressFree(at, granule));
}

TEST_CASE("exported memory returns to the card when no process has a handle or a mapping of it") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const auto handle = create_shareable(granule);
  const Sockets sockets;
  Child child("import-fd", sockets.environment());
  const int fd = export_fd(handle);
  send_fd(sockets.here, fd);
  ::close(fd);
  REQUIRE_EQ(child.line(), "imported");
  CHECK_EQ(free_bytes(), free_at_first - granule);  // once for both
  OK(cuMemRelease(handle));
  CHECK_EQ(free_bytes(), free_at_first - granule);
  child.release();
  REQUIRE_EQ(child.line(), "unmapped");
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("imported memory of a process that died returns to the card") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const auto handle = create_shareable(granule);
  const Sockets sockets;
  Child child("import-fd", sockets.environment());
  const int fd = export_fd(handle);
  send_fd(sockets.here, fd);
  ::close(fd);
  REQUIRE_EQ(child.line(), "imported");
  OK(cuMemRelease(handle));
  child.kill();
  CHECK(eventually([&] { return free_bytes() == free_at_first; }));
}

TEST_CASE("memory outlives the process that exported it") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const Sockets sockets;
  Child child("export-fd", sockets.environment());
  REQUIRE_EQ(child.line(), "sent");
  child.kill();
  (void)child.wait();
  CHECK_EQ(free_bytes(), free_at_first - granule);  // the descriptor is on its way
  const int fd = receive_fd(sockets.here);
  CUmemGenericAllocationHandle handle = 0;
  OK(import_fd(&handle, fd));
  ::close(fd);
  const CUdeviceptr at = map_somewhere(handle, granule);
  CHECK_EQ(word_at(at + granule - 4), 77);
  OK(cuMemUnmap(at, granule));
  OK(cuMemRelease(handle));
  OK(cuMemAddressFree(at, granule));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("a descriptor alone keeps the memory, and every one counts") {
  const TestContext context;
  const std::size_t free_at_first = free_bytes();
  const auto handle = create_shareable(2 * granule);
  const int first = export_fd(handle), second = export_fd(handle), third = ::dup(second);
  OK(cuMemRelease(handle));
  ::close(first);
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  ::close(second);
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  CUmemGenericAllocationHandle again = 0;
  OK(import_fd(&again, third));
  ::close(third);
  CHECK_EQ(free_bytes(), free_at_first - 2 * granule);
  OK(cuMemRelease(again));
  CHECK_EQ(free_bytes(), free_at_first);
}

TEST_CASE("only memory made for a kind of handle is exported as one") {
  const auto plain = create(granule), shareable = create_shareable(granule);
  int fd = -1;
  constexpr auto descriptor = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CHECK_EQ(cuMemExportToShareableHandle(&fd, plain, descriptor, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemExportToShareableHandle(nullptr, shareable, descriptor, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemExportToShareableHandle(&fd, shareable, descriptor, 1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemExportToShareableHandle(&fd, 12345, descriptor, 0), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemExportToShareableHandle(&fd, shareable, CU_MEM_HANDLE_TYPE_FABRIC, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(cuMemExportToShareableHandle(&fd, shareable, CU_MEM_HANDLE_TYPE_NONE, 0), CUDA_ERROR_INVALID_VALUE);
  auto prop = device_memory();
  CUmemGenericAllocationHandle handle = 0;
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_FABRIC;
  CHECK_EQ(cuMemCreate(&handle, granule, &prop, 0), CUDA_ERROR_NOT_SUPPORTED);
  CHECK_EQ(fd, -1);
  OK(cuMemRelease(plain));
  OK(cuMemRelease(shareable));
}

TEST_CASE("what is no descriptor of shared memory is not imported") {
  CUmemGenericAllocationHandle handle = 0;
  const int other = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK_EQ(import_fd(&handle, other), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(import_fd(&handle, -1), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(import_fd(nullptr, other), CUDA_ERROR_INVALID_VALUE);
  CHECK_EQ(cuMemImportFromShareableHandle(&handle, nullptr, CU_MEM_HANDLE_TYPE_FABRIC), CUDA_ERROR_NOT_SUPPORTED);
  ::close(other);
  const auto made = create_shareable(granule);
  const int fd = export_fd(made);
  ::lseek(fd, 0, SEEK_SET);  // no longer what it was
  CHECK_EQ(import_fd(&handle, fd), CUDA_ERROR_INVALID_VALUE);
  ::close(fd);
  OK(cuMemRelease(made));
}

TEST_CASE("imported memory tells the properties it was made with") {
  const auto made = create_shareable(granule);
  const int fd = export_fd(made);
  CUmemGenericAllocationHandle handle = 0;
  OK(import_fd(&handle, fd));
  ::close(fd);
  CUmemAllocationProp prop{};
  OK(cuMemGetAllocationPropertiesFromHandle(&prop, handle));
  CHECK_EQ(prop.requestedHandleTypes, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  CHECK_EQ(prop.type, CU_MEM_ALLOCATION_TYPE_PINNED);
  CHECK_EQ(prop.location.id, 0);
  OK(cuMemRelease(handle));
  OK(cuMemRelease(made));
  CHECK_EQ(cuMemRelease(made), CUDA_ERROR_INVALID_VALUE);
}

TEST_CASE("a process killed at any instant of exporting and importing leaves the accounts right") {
  const TestContext context;
  const std::size_t alone = free_bytes();
  for (int i = 0; i < 8; ++i) {
    Child child("churn-shared");
    REQUIRE_EQ(child.line(), "churning");
    for (int k = 0; k < 10 * i; ++k) OK(cuMemRelease(create(granule)));
    child.kill();
    (void)child.wait();
    CHECK_EQ(free_bytes(), alone);
  }
  OK(cuMemRelease(create(alone)));
}

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
