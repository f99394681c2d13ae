#include "tests/driver/memory/two_processes.h"

using namespace lull::sim::test;

namespace {

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
