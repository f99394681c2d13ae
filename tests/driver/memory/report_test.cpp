#include <unistd.h>

#include <fstream>
#include <iterator>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

// Runs a role with a report, and tells what it found.
std::string report_of(const std::string& role) {
  const std::string path = "/dev/shm/lull-sim-report-" + std::to_string(::getpid());
  Child child(role, {"LULL_SIM_REPORT=" + path});
  CHECK_EQ(child.wait(), 0);
  std::ifstream file(path);
  std::string text(std::istreambuf_iterator<char>(file), {});
  file.close();
  ::unlink(path.c_str());
  return text;
}

bool has(const std::string& text, const std::string& finding) { return text.find(finding) != std::string::npos; }

void begin(CUcontext* context) {
  OK(cuInit(0));
  OK(cuCtxCreate_v2(context, 0, 0));
}

ChildRole bad_frees("bad-frees", [] {
  CUcontext context = nullptr;
  begin(&context);
  CUdeviceptr d = 0, pooled = 0;
  OK(cuMemAlloc_v2(&d, 1000));
  OK(cuMemFree_v2(d));
  bool refused = cuMemFree_v2(d) == CUDA_ERROR_INVALID_VALUE;
  refused = refused && cuMemFree_v2(4096) == CUDA_ERROR_INVALID_VALUE;
  OK(cuMemAllocAsync(&pooled, 2000, nullptr));
  OK(cuMemFreeAsync(pooled, nullptr));
  refused = refused && cuMemFreeAsync(pooled, nullptr) == CUDA_ERROR_INVALID_VALUE;
  OK(cuCtxDestroy_v2(context));
  return refused ? 0 : 2;
});

ChildRole bad_uses("bad-uses", [] {
  CUcontext context = nullptr;
  begin(&context);
  CUdeviceptr d = 0, kept = 0;
  const std::uint32_t word = 1;
  OK(cuMemAlloc_v2(&kept, 100));
  OK(cuMemAlloc_v2(&d, 3 * granule));
  OK(cuMemFree_v2(d));
  bool refused = cuMemcpyHtoD_v2(d, &word, 4) == CUDA_ERROR_INVALID_VALUE;
  refused = refused && cuMemsetD8_v2(kept, 1, 101) == CUDA_ERROR_INVALID_VALUE;
  std::uint32_t n = 1;
  OK(launch(kernel("add_one"), 1, nullptr, {&d, &n}));
  return refused && cuCtxSynchronize() == CUDA_ERROR_ILLEGAL_ADDRESS ? 0 : 2;
});

ChildRole bad_maps("bad-maps", [] {
  CUcontext context = nullptr;
  begin(&context);
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, 4 * granule, 0, 0, 0));
  const auto handle = create(2 * granule);
  map(at, 2 * granule, handle);
  bool refused = cuMemMap(at, 2 * granule, 0, handle, 0) == CUDA_ERROR_INVALID_VALUE;
  refused = refused && cuMemUnmap(at, granule) == CUDA_ERROR_INVALID_VALUE;
  refused = refused && cuMemAddressFree(at, 4 * granule) == CUDA_ERROR_INVALID_VALUE;
  OK(cuMemRelease(handle));
  refused = refused && cuMemRelease(handle) == CUDA_ERROR_INVALID_VALUE;
  OK(cuMemUnmap(at, 2 * granule));
  refused = refused && cuMemUnmap(at, 2 * granule) == CUDA_ERROR_INVALID_VALUE;
  OK(cuMemAddressFree(at, 4 * granule));
  OK(cuCtxDestroy_v2(context));
  return refused ? 0 : 2;
});

ChildRole leaks("leaks", [] {
  CUcontext context = nullptr;
  begin(&context);
  CUdeviceptr d = 0, pooled = 0, at = 0;
  CUstream stream = nullptr;
  OK(cuMemAlloc_v2(&d, 12345));
  OK(cuMemAllocAsync(&pooled, 54321, nullptr));
  OK(cuMemAddressReserve(&at, 6 * granule, 0, 0, 0));
  (void)create(8 * granule);
  (void)kernel("add_one");
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  OK(cuCtxDestroy_v2(context));
  return 0;
});

ChildRole tidy("tidy", [] {
  CUcontext context = nullptr;
  begin(&context);
  CUdeviceptr d = 0;
  OK(cuMemAlloc_v2(&d, 100));
  OK(cuMemsetD8_v2(d, 0, 100));
  OK(cuMemFree_v2(d));
  OK(cuCtxDestroy_v2(context));
  return 0;
});

}  // namespace

TEST_CASE("a free of what is not allocated is invalid, and reported with function, address, size and pid") {
  const std::string text = report_of("bad-frees");
  CHECK(has(text, "cuMemFree_v2: freed twice: 0x"));
  CHECK(has(text, ", 1000 bytes, pid "));
  CHECK(has(text, "cuMemFree_v2: freed, and no allocation starts there: 0x1000"));
  CHECK(has(text, "cuMemFreeAsync: freed twice: 0x"));
}

TEST_CASE("use after free, and beyond an allocation's end, is reported for calls and for running work") {
  const std::string text = report_of("bad-uses");
  CHECK(has(text, "cuMemcpyHtoD_v2: used after it was freed: 0x"));
  CHECK(has(text, "cuMemsetD8_v2: used beyond the end of an allocation: 0x"));
  CHECK(has(text, ", 101 bytes, pid "));
  CHECK(has(text, "work of a stream: used after it was freed: 0x"));
}

TEST_CASE("mapping twice, unmapping in part, freeing mapped addresses and releasing too often is reported") {
  const std::string text = report_of("bad-maps");
  CHECK(has(text, "cuMemMap: mapped where something is mapped: 0x"));
  CHECK(has(text, "cuMemUnmap: unmapped in part: 0x"));
  CHECK(has(text, "cuMemAddressFree: address freed while memory is mapped there: 0x"));
  CHECK(has(text, "cuMemRelease: released more often than it was had: 0x"));
  CHECK(has(text, "cuMemUnmap: unmapped, and nothing is mapped there: 0x"));
}

TEST_CASE("what is left when a context ends is reported: memory, addresses, handles, modules, streams") {
  const std::string text = report_of("leaks");
  CHECK(has(text, "not freed when its context ended: 0x"));
  CHECK(has(text, ", 12345 bytes"));
  CHECK(has(text, "pool memory not freed when the last context ended: 0x"));
  CHECK(has(text, ", 54321 bytes"));
  CHECK(has(text, "address not freed when the last context ended: 0x"));
  CHECK(has(text, "handle not released when the last context ended: 0x"));
  CHECK(has(text, "module not unloaded when its context ended: 0x"));
  CHECK(has(text, "stream not destroyed when its context ended: 0x"));
}

TEST_CASE("a program without misuse has an empty report") { CHECK_EQ(report_of("tidy"), ""); }
