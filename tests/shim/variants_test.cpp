// Functions that come in several revisions and flavours: each is handled as its siblings are.
#include <chrono>
#include <string>

#include "tests/shim/client.h"

using namespace lull;

namespace {

CUcontext current() {
  CUcontext context = nullptr;
  REQUIRE(cuCtxGetCurrent(&context) == CUDA_SUCCESS);
  return context;
}

void close_gate() {
  broker->gate(GateState::closed);
  REQUIRE(broker->reaches(Phase::drained));
}

// Whether a call made behind a closed gate waits there, and comes back when it opens.
template <class Call>
bool waits(Call call) {
  close_gate();
  const std::uint64_t wants = broker->up().wants.load();
  std::atomic<bool> done{false};
  std::thread caller([&, context = current()] {
    (void)cuCtxSetCurrent(context);
    call();
    done = true;
  });
  const bool waited = comes_true([&] { return done || broker->up().wants.load() > wants; }) && !done;
  broker->gate(GateState::open);
  caller.join();
  return waited;
}

struct Stream {
  CUstream stream = nullptr;
  Stream() { REQUIRE(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) == CUDA_SUCCESS); }
  ~Stream() { CHECK(cuStreamDestroy(stream) == CUDA_SUCCESS); }
};

// An open capture is noticed at once by a free, which must not wait for work then, and so leaves the memory where it
// is.
template <class Begin, class End>
void check_capture(const char* name, Begin begin, End end) {
  INFO(std::string(name));
  const Stream capturing;
  CUgraph graph = nullptr;
  CUdeviceptr at = 0;
  const std::uint64_t needed = broker->up().needed.load();
  REQUIRE(cuMemAlloc_v2(&at, 20 * mib) == CUDA_SUCCESS);
  REQUIRE(begin(capturing.stream) == CUDA_SUCCESS);
  CHECK(cuMemFree_v2(at) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == needed + 20 * mib);
  CHECK(end(capturing.stream, &graph) == CUDA_SUCCESS);
  CHECK(comes_true([&] { return broker->up().needed.load() == needed; }));
  if (graph) CHECK(cuGraphDestroy(graph) == CUDA_SUCCESS);
}

// A submission that follows the record of a timed event passes a gate that has closed meanwhile, if it comes within
// 20 ms: so a slow machine may try again.
template <class Record>
bool opens_a_pair(Record record) {
  CUevent event = nullptr;
  const Buffer buffer(mib);
  REQUIRE(cuEventCreate(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS);
  bool passed_once = false;
  for (unsigned round = 0; round < 100 && !passed_once; ++round) {
    const std::uint64_t wants = broker->up().wants.load();
    REQUIRE(record(event) == CUDA_SUCCESS);
    broker->gate(GateState::closed);
    std::atomic<bool> passed{false};
    std::thread reopen([&] {
      (void)comes_true([&] { return passed || broker->up().wants.load() > wants; });
      if (!passed) broker->gate(GateState::open);
    });
    REQUIRE(cuMemsetD8Async(buffer.at, 1, 64, nullptr) == CUDA_SUCCESS);
    passed = true;
    reopen.join();
    passed_once = broker->up().wants.load() == wants;
    broker->gate(GateState::open);
    REQUIRE(broker->reaches(Phase::running));
  }
  CHECK(cuEventDestroy(event) == CUDA_SUCCESS);
  return passed_once;
}

// What is allocated in a context of the program's own moves, and goes with the context.
template <class Create, class Destroy>
void check_context(const char* name, Create create, Destroy destroy) {
  INFO(std::string(name));
  CUcontext before = current(), made = nullptr, popped = nullptr;
  const std::uint64_t needed = broker->up().needed.load();
  REQUIRE(create(&made) == CUDA_SUCCESS);
  CUdeviceptr at = 0;
  REQUIRE(cuMemAlloc_v2(&at, 20 * mib) == CUDA_SUCCESS);
  REQUIRE(cuMemcpyHtoD_v2(at, pattern(20 * mib, 5).data(), 20 * mib) == CUDA_SUCCESS);
  REQUIRE(broker->evict_to(0));
  REQUIRE(broker->restore());
  std::vector<std::uint32_t> words(20 * mib / 4);
  CHECK(cuMemcpyDtoH_v2(words.data(), at, 20 * mib) == CUDA_SUCCESS);
  CHECK(words == pattern(20 * mib, 5));
  CHECK(broker->up().needed.load() == needed + 20 * mib);
  (void)cuCtxPopCurrent_v2(&popped);
  REQUIRE(destroy(made) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == needed);
  REQUIRE(cuCtxSetCurrent(before) == CUDA_SUCCESS);
}

// A reset leaves references behind.
CUresult until_gone(CUdevice device, CUresult (*release)(CUdevice)) {
  unsigned flags = 0;
  int alive = 1;
  CUresult result = CUDA_SUCCESS;
  while (result == CUDA_SUCCESS && alive) {
    result = release(device);
    if (cuDevicePrimaryCtxGetState(device, &flags, &alive) != CUDA_SUCCESS) break;
  }
  return result;
}

// The primary context is gone after `end`, with what was in it; the next one is made current.
template <class End>
void check_end_of_primary(const char* name, End end) {
  INFO(std::string(name));
  CUdeviceptr at = 0;
  REQUIRE(cuMemAlloc_v2(&at, 20 * mib) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == 20 * mib);
  REQUIRE(end(0) == CUDA_SUCCESS);
  CHECK(broker->up().needed.load() == 0);
  CUcontext context = nullptr;
  REQUIRE(cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
  REQUIRE(cuCtxSetCurrent(context) == CUDA_SUCCESS);
}

}  // namespace

TEST_CASE("a capture begun by any function is open until it is ended by any: memory that is freed stays that long") {
  constexpr auto mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  CUgraph graph = nullptr;
  REQUIRE(cuGraphCreate(&graph, 0) == CUDA_SUCCESS);
  CUgraph unused = nullptr;
  const auto end = [](CUstream s, CUgraph* g) { return cuStreamEndCapture(s, g); };
  const auto end_ptsz = [](CUstream s, CUgraph* g) { return cuStreamEndCapture_ptsz(s, g); };
  const auto end_to_graph = [&](CUstream s, CUgraph*) { return cuStreamEndCapture_ptsz(s, &unused); };
  check_capture(
      "cuStreamBeginCapture", [](CUstream s) { return cuStreamBeginCapture(s); }, end);
  check_capture(
      "_ptsz", [](CUstream s) { return cuStreamBeginCapture_ptsz(s); }, end_ptsz);
  check_capture(
      "_v2", [](CUstream s) { return cuStreamBeginCapture_v2(s, mode); }, end);
  check_capture(
      "_v2_ptsz", [](CUstream s) { return cuStreamBeginCapture_v2_ptsz(s, mode); }, end_ptsz);
  check_capture(
      "ToGraph", [&](CUstream s) { return cuStreamBeginCaptureToGraph(s, graph, nullptr, nullptr, 0, mode); },
      end_to_graph);
  check_capture(
      "ToGraph_ptsz", [&](CUstream s) { return cuStreamBeginCaptureToGraph_ptsz(s, graph, nullptr, nullptr, 0, mode); },
      end_to_graph);
  CHECK(cuGraphDestroy(graph) == CUDA_SUCCESS);
}

TEST_CASE("a timed event recorded by any function opens a pair that work passes the closing gate for") {
  CHECK(opens_a_pair([](CUevent e) { return cuEventRecord(e, nullptr); }));
  CHECK(opens_a_pair([](CUevent e) { return cuEventRecord_ptsz(e, nullptr); }));
  CHECK(opens_a_pair([](CUevent e) { return cuEventRecordWithFlags(e, nullptr, 0); }));
  CHECK(opens_a_pair([](CUevent e) { return cuEventRecordWithFlags_ptsz(e, nullptr, 0); }));
}

TEST_CASE("memory in a context made by any revision moves, and goes with it") {
  broker->give_backing(128 * mib);
  check_context(
      "_v2", [](CUcontext* c) { return cuCtxCreate_v2(c, 0, 0); }, [](CUcontext c) { return cuCtxDestroy_v2(c); });
  check_context(
      "_v3", [](CUcontext* c) { return cuCtxCreate_v3(c, nullptr, 0, 0, 0); },
      [](CUcontext c) { return cuCtxDestroy(c); });
  check_context(
      "_v4", [](CUcontext* c) { return cuCtxCreate_v4(c, nullptr, 0, 0); },
      [](CUcontext c) { return cuCtxDestroy_v2(c); });
}

TEST_CASE("a primary context that ends by any function takes its memory along") {
  check_end_of_primary("reset", [](CUdevice d) { return cuDevicePrimaryCtxReset(d); });
  check_end_of_primary("release", [](CUdevice d) { return until_gone(d, cuDevicePrimaryCtxRelease); });
  check_end_of_primary("release_v2", [](CUdevice d) { return until_gone(d, cuDevicePrimaryCtxRelease_v2); });
  check_end_of_primary("reset_v2", [](CUdevice d) { return cuDevicePrimaryCtxReset_v2(d); });
}

TEST_CASE("pitched memory moves and comes back, and answers all its attributes while it is absent") {
  CUdeviceptr at = 0, base = 0;
  std::size_t pitch = 0, range = 0;
  unsigned type = 0;
  int ordinal = -1;
  const std::uint64_t needed = broker->up().needed.load();
  REQUIRE(cuMemAllocPitch_v2(&at, &pitch, 5000, 1000, 4) == CUDA_SUCCESS);
  CHECK(pitch >= 5000);
  const std::size_t bytes = pitch * 1000;
  CHECK(broker->up().needed.load() >= needed + bytes);
  REQUIRE(cuMemcpyHtoD_v2(at, pattern(bytes, 8).data(), bytes) == CUDA_SUCCESS);
  REQUIRE(broker->evict_to(0));
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE,
                                 CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void* answers[] = {&base, &range, &type, &ordinal};
  CHECK(cuPointerGetAttributes(4, asked, answers, at + 100) == CUDA_SUCCESS);
  CHECK(base == at);
  CHECK(range >= bytes);
  CHECK(type == CU_MEMORYTYPE_DEVICE);
  CHECK(ordinal == 0);
  REQUIRE(broker->restore());
  std::vector<std::uint32_t> words(bytes / 4);
  CHECK(cuMemcpyDtoH_v2(words.data(), at, bytes) == CUDA_SUCCESS);
  CHECK(words == pattern(bytes, 8));
  CHECK(cuMemFree_v2(at) == CUDA_SUCCESS);
}

TEST_CASE("calls that tie memory to other hardware wait until all of it is there; memory that moves they refuse") {
  constexpr auto dma_buf = CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD;
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr at = 0;
  int shared = -1;
  REQUIRE(cuMemCreate(&handle, 4 * mib, &properties, 0) == CUDA_SUCCESS);
  REQUIRE(cuMemAddressReserve(&at, 4 * mib, 0, 0, 0) == CUDA_SUCCESS);
  REQUIRE(cuMemMap(at, 4 * mib, 0, handle, 0) == CUDA_SUCCESS);
  CHECK(waits([&] { (void)cuMulticastBindMem(1, 0, handle, 0, 4 * mib, 0); }));
  CHECK(waits([&] { (void)cuMulticastBindAddr(1, 0, at, 4 * mib, 0); }));
  CHECK(waits([&] { (void)cuMemGetHandleForAddressRange(&shared, at, 4 * mib, dma_buf, 0); }));
  CHECK(cuMemUnmap(at, 4 * mib) == CUDA_SUCCESS);
  CHECK(cuMemAddressFree(at, 4 * mib) == CUDA_SUCCESS);
  CHECK(cuMemRelease(handle) == CUDA_SUCCESS);
  const Buffer buffer(4 * mib);
  CHECK(cuMulticastBindAddr(1, 0, buffer.at, 4 * mib, 0) == CUDA_ERROR_NOT_SUPPORTED);
  CHECK(cuMemGetHandleForAddressRange(&shared, buffer.at, 4 * mib, dma_buf, 0) == CUDA_ERROR_NOT_SUPPORTED);
}
