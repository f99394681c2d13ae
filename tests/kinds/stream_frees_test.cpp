// cuMemFreeAsync of memory that cuMemAlloc gave: it goes in the order of the stream.
#include <atomic>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

CUdeviceptr allocate(std::size_t bytes) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

// Keeps a stream until it is let go.
class Stop {
 public:
  explicit Stop(CUstream stream) {
    OK(cuLaunchHostFunc(
        stream,
        [](void* self) {
          demand(comes_true([=] { return static_cast<Stop*>(self)->over_.load(); }), "a stream is let go");
        },
        this));
  }
  void let_go() { over_ = true; }

 private:
  std::atomic<bool> over_{false};
};

bool known(CUdeviceptr at) {
  CUdeviceptr base = 0;
  return cuMemGetAddressRange_v2(&base, nullptr, at) == CUDA_SUCCESS && base == at;
}

bool is_given_back(std::uint64_t needed) {
  return comes_true([=] { return broker().up().needed.load() == needed; });
}

}  // namespace

TEST_CASE("memory freed in a stream stays until the stream has come to the free, and is out of sight at once") {
  const CUstream s = make_stream();
  const std::uint64_t needed = broker().up().needed.load();
  const CUdeviceptr at = allocate(20 * mib);
  Stop stop(s);
  OK(cuMemsetD8Async(at, 1, 20 * mib, s));
  OK(cuMemFreeAsync(at, s));
  CHECK(cuMemFreeAsync(at, s) == CUDA_ERROR_INVALID_VALUE);
  const std::size_t unmapped = calls("cuMemUnmap");
  // With a word followed, the mover has looked.
  for (const std::uint64_t quota : {~0ull >> 2, ~0ull >> 1}) {
    broker().quota(quota);
    demand(comes_true([&] { return broker().up().seen_quota_plus_1.load() == quota + 1; }), "the quota is seen");
  }
  CHECK(broker().up().needed.load() == needed + 20 * mib);
  CHECK(calls("cuMemUnmap") == unmapped);
  stop.let_go();
  OK(cuStreamSynchronize(s));
  CHECK(is_given_back(needed));
  OK(cuStreamDestroy_v2(s));
}

TEST_CASE("a small block freed in a stream is not given to others before") {
  const CUstream s = make_stream();
  const CUdeviceptr neighbour = allocate(1000), at = allocate(1000);
  Stop stop(s);
  OK(cuMemFreeAsync(at, s));
  const CUdeviceptr other = allocate(1000);
  CHECK(other != at);
  stop.let_go();
  OK(cuStreamSynchronize(s));
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo_v2(&free, &total));  // looks
  const CUdeviceptr again = allocate(1000);
  CHECK(again == at);
  for (const CUdeviceptr one : {neighbour, other, again}) OK(cuMemFree_v2(one));
  OK(cuStreamDestroy_v2(s));
}

TEST_CASE("the stream of a thread is meant by the null stream of its twin, and the legacy stream by the other") {
  const std::uint64_t needed = broker().up().needed.load();
  for (const bool per_thread : {false, true}) {
    const CUstream own = per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
    const CUdeviceptr at = allocate(20 * mib);
    Stop stop(own);
    CHECK((per_thread ? cuMemFreeAsync_ptsz(at, nullptr) : cuMemFreeAsync(at, nullptr)) == CUDA_SUCCESS);
    std::size_t free = 0, total = 0;
    OK(cuMemGetInfo_v2(&free, &total));
    CHECK(broker().up().needed.load() == needed + 20 * mib);
    stop.let_go();
    OK(cuStreamSynchronize(own));
    CHECK(is_given_back(needed));
  }
}

TEST_CASE("what a stream has freed can be allocated again at once, and is free") {
  const std::size_t before = promised_free(), most = before / granule * granule;
  broker().quota(0);  // nothing of it need be on the card
  CUdeviceptr at = allocate(most);
  OK(cuMemFreeAsync(at, nullptr));
  OK(cuCtxSynchronize());
  OK(cuMemAlloc_v2(&at, most));
  OK(cuMemFreeAsync(at, nullptr));
  OK(cuCtxSynchronize());
  CHECK(promised_free() == before);
  broker().quota(~0ull >> 1);
}

TEST_CASE("what is freed in a stream is not copied when it has to leave, and what is absent is freed as well") {
  broker().give_backing(64 * mib);
  const std::uint64_t needed = broker().up().needed.load();
  const CUdeviceptr gone = allocate(20 * mib), kept = allocate(20 * mib), late = allocate(20 * mib);
  for (const CUdeviceptr one : {gone, kept, late}) fill(one, 20 * mib, 9);
  const std::uint64_t evicted = broker().up().evicted_bytes.load();
  OK(cuMemFreeAsync(gone, nullptr));
  demand(broker().evict_to(0), "the memory leaves");
  CHECK(broker().up().evicted_bytes.load() - evicted == 40 * mib);
  OK(cuMemFreeAsync(late, nullptr));
  CHECK(is_given_back(needed + 20 * mib));
  demand(broker().restore(), "the memory comes back");
  CHECK(intact(kept, 20 * mib, 9));
  OK(cuMemFree_v2(kept));
}

TEST_CASE("in a capture it is refused as the driver refuses it, and stays; beside one it is freed") {
  const CUstream s = make_stream(), other = make_stream();
  const std::uint64_t needed = broker().up().needed.load();
  const CUdeviceptr at = allocate(20 * mib);
  CUgraph graph = nullptr;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
  CHECK(cuMemFreeAsync(at, s) == CUDA_ERROR_INVALID_VALUE);
  CHECK(known(at));
  OK(cuMemFreeAsync(at, other));
  CHECK(cuMemFreeAsync(at, other) == CUDA_ERROR_INVALID_VALUE);
  OK(cuStreamEndCapture(s, &graph));
  CHECK(is_given_back(needed));
  OK(cuGraphDestroy(graph));
  for (const CUstream one : {s, other}) OK(cuStreamDestroy_v2(one));
}

TEST_CASE("a stream that is none frees nothing, and a context takes along what it still has to free") {
  const std::uint64_t needed = broker().up().needed.load();
  CUcontext own = nullptr, before = nullptr;
  OK(cuCtxGetCurrent(&before));
  OK(cuCtxCreate_v2(&own, 0, 0));
  const CUdeviceptr at = allocate(20 * mib), other = allocate(20 * mib);
  CHECK(cuMemFreeAsync(at, reinterpret_cast<CUstream>(0x10)) != CUDA_SUCCESS);
  CHECK(known(at));
  OK(cuMemFreeAsync(at, nullptr));
  OK(cuCtxSetCurrent(before));
  OK(cuMemFreeAsync(other, nullptr));  // in a stream of another context
  OK(cuCtxDestroy_v2(own));
  CHECK(is_given_back(needed));
  OK(cuCtxSynchronize());
}

}  // namespace lull::hazards
