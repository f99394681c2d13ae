// Hazards 9 and 16 where memory comes from pools: it stays on the card and is counted; what nobody uses of it leaves.
#include <atomic>
#include <thread>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

// Of the whole card, as any process would be told that has no shim.
std::size_t free_on_card() {
  (void)context();
  static const auto ask = reinterpret_cast<decltype(&cuMemGetInfo_v2)>(behind_the_shim("cuMemGetInfo_v2"));
  std::size_t free = 0, total = 0;
  OK(ask(&free, &total));
  return free;
}

std::size_t promised_free() {
  (void)context();
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo_v2(&free, &total));
  return free;
}

CUmemoryPool default_pool() {
  (void)context();
  CUmemoryPool pool = nullptr;
  OK(cuDeviceGetDefaultMemPool(&pool, 0));
  return pool;
}

CUmemoryPool make_pool() {
  (void)context();
  CUmemPoolProps properties{};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUmemoryPool pool = nullptr;
  OK(cuMemPoolCreate(&pool, &properties));
  return pool;
}

void keep_everything(CUmemoryPool pool) {
  cuuint64_t threshold = UINT64_MAX;  // as PyTorch's cudaMallocAsync backend has it
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold));
}

cuuint64_t attribute_of(CUmemoryPool pool, CUmemPool_attribute attribute) {
  cuuint64_t value = 0;
  OK(cuMemPoolGetAttribute(pool, attribute, &value));
  return value;
}

CUdeviceptr allocate_from(CUmemoryPool pool, std::size_t bytes, CUstream stream = nullptr) {
  CUdeviceptr at = 0;
  OK(cuMemAllocFromPoolAsync(&at, bytes, pool, stream));
  return at;
}

// Frees so many bytes into the pool, which keeps them, beside a block that stays.
CUdeviceptr leave_idle(CUmemoryPool pool, std::size_t bytes, std::size_t kept, std::uint32_t seed) {
  keep_everything(pool);
  const CUdeviceptr idle = allocate_from(pool, bytes), stays = allocate_from(pool, kept);
  fill(stays, kept, seed);
  OK(cuMemFreeAsync(idle, nullptr));
  OK(cuCtxSynchronize());
  return stays;
}

// An eviction, so that what the shim itself needs of the card is there before free memory is compared.
void evict_once() {
  broker().give_backing(64 * mib);
  CUdeviceptr movable = 0;
  OK(cuMemAlloc_v2(&movable, 2 * mib));
  demand(broker().evict_to(0) && broker().restore(), "the memory leaves and comes back");
  OK(cuMemFree_v2(movable));
}

void close_gate() {
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is drained");
}

bool grows_by(std::size_t before, std::size_t bytes) {
  return comes_true([&] { return free_on_card() >= before + bytes; });
}

void forget(CUmemoryPool pool, CUdeviceptr at) {
  OK(cuMemFreeAsync(at, nullptr));
  OK(cuCtxSynchronize());
  OK(cuMemPoolTrimTo(pool, 0));
}

}  // namespace

TEST_CASE("hazard 16: what pools keep and nobody uses leaves the card, what is in use stays as it is") {
  evict_once();
  const CUmemoryPool usual = default_pool(), own = make_pool();
  const CUdeviceptr first = leave_idle(usual, 64 * mib, 6 * mib, 1), second = leave_idle(own, 40 * mib, 10 * mib, 2);
  CUdeviceptr movable = 0;
  OK(cuMemAlloc_v2(&movable, 32 * mib));
  fill(movable, 32 * mib, 3);
  demand(comes_true([] { return broker().up().native.load() == 120 * mib; }), "the broker is told what pools hold");
  const std::size_t before = free_on_card();
  demand(broker().evict_to(0), "the memory leaves");
  demand(grows_by(before, 32 * mib + 104 * mib), "what pools keep and nobody uses leaves the card");
  demand(comes_true([] { return broker().up().native.load() == 16 * mib; }), "the broker is told what pools hold");
  demand(broker().restore(), "the memory comes back");
  demand(intact(first, 6 * mib, 1) && intact(second, 10 * mib, 2), "what is in use of a pool stays as it is");
  demand(intact(movable, 32 * mib, 3), "the content is the same after the move");
  for (const CUmemoryPool pool : {usual, own})
    demand(attribute_of(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD) == UINT64_MAX, "the release threshold stays");
  forget(usual, first);
  forget(own, second);
  OK(cuMemPoolDestroy(own));
  OK(cuMemFree_v2(movable));
}

TEST_CASE("hazard 16: a program that has all its memory from pools gives back what it does not use") {
  evict_once();
  const CUmemoryPool pool = default_pool();
  // Neither guessed nor waited for by the program's streams: the pool itself would keep such a block for its stream.
  int never = 0;
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &never));
  keep_everything(pool);
  const CUdeviceptr idle = allocate_from(pool, 48 * mib), stays = allocate_from(pool, 4 * mib);
  fill(stays, 4 * mib, 4);
  OK(cuMemFreeAsync(idle, nullptr));
  const std::size_t before = free_on_card();
  close_gate();
  demand(free_on_card() == before, "a pause without need takes nothing");
  broker().quota(0);
  demand(grows_by(before, 48 * mib), "what pools keep and nobody uses leaves the card");
  // Freed while the program is paused.
  OK(cuMemFreeAsync(allocate_from(pool, 24 * mib), nullptr));
  demand(grows_by(before, 48 * mib), "what is freed during the pause leaves the card, too");
  demand(broker().restore(), "the program goes on");
  demand(intact(stays, 4 * mib, 4), "what is in use of a pool stays as it is");
  int always = 1;
  OK(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC, &always));
  forget(pool, stays);
}

TEST_CASE("hazard 16: while a capture is open no pool is trimmed, and after it they are") {
  evict_once();
  const CUmemoryPool pool = default_pool();
  const CUdeviceptr stays = leave_idle(pool, 32 * mib, 2 * mib, 5);
  CUstream stream = nullptr;
  CUgraph graph = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  close_gate();
  OK(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  const std::size_t before = free_on_card(), trims = calls("cuMemPoolTrimTo");
  for (const std::uint64_t quota : {0, 1, 0}) {  // with the second and third seen, the first has been followed
    broker().quota(quota);
    demand(comes_true([&] { return broker().up().seen_quota_plus_1.load() == quota + 1; }), "the quota is seen");
  }
  demand(calls("cuMemPoolTrimTo") == trims && free_on_card() == before, "no pool is trimmed while a capture is open");
  OK(cuStreamEndCapture(stream, &graph));
  demand(grows_by(before, 32 * mib), "what pools keep and nobody uses leaves the card");
  demand(broker().restore(), "the program goes on");
  OK(cuGraphDestroy(graph));
  OK(cuStreamDestroy_v2(stream));
  forget(pool, stays);
}

TEST_CASE("hazard 16: pools are made and destroyed while the mover trims") {
  std::atomic<bool> enough{false};
  std::atomic<unsigned> made{0};
  const CUcontext current = context();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      OK(cuCtxSetCurrent(current));
      CUstream stream = nullptr;
      OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
      while (!enough) {
        const CUmemoryPool pool = make_pool();
        keep_everything(pool);
        OK(cuMemFreeAsync(allocate_from(pool, 4 * mib, stream), stream));
        const CUdeviceptr late = allocate_from(pool, 2 * mib, stream);
        OK(cuMemPoolDestroy(pool));
        OK(cuMemFreeAsync(late, stream));
        OK(cuStreamSynchronize(stream));
        ++made;
      }
      OK(cuStreamDestroy_v2(stream));
    });
  const std::size_t trims = calls("cuMemPoolTrimTo");
  for (unsigned i = 0; i < 15; ++i) {
    close_gate();
    const unsigned before = made;
    const auto looks_again = [&] {  // each word of the broker makes the mover look for what is idle
      broker().quota(0);
      return made > before + 20;
    };
    demand(comes_true(looks_again), "pools come and go while the program is paused");
    demand(broker().restore(), "the program goes on");
  }
  enough = true;
  for (std::thread& thread : threads) thread.join();
  demand(calls("cuMemPoolTrimTo") > trims, "pools have been trimmed meanwhile");
  demand(calls("cuMemPoolTrimTo", false) == calls("cuMemPoolTrimTo"), "no pool is trimmed that has been destroyed");
}

TEST_CASE("hazard 9: what pools hold is not free, by whatever call it came and went") {
  const std::size_t before = promised_free();
  const CUmemoryPool usual = default_pool(), own = make_pool();
  cuuint64_t nothing = 0;
  OK(cuMemPoolSetAttribute(usual, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &nothing));
  CUdeviceptr at[4] = {};
  OK(cuMemAllocAsync(&at[0], 4 * mib, nullptr));
  OK(cuMemAllocAsync_ptsz(&at[1], 8 * mib, nullptr));
  OK(cuMemAllocFromPoolAsync(&at[2], 16 * mib, own, nullptr));
  OK(cuMemAllocFromPoolAsync_ptsz(&at[3], 32 * mib, own, nullptr));
  demand(before - promised_free() == 60 * mib, "what pools hold is not free");
  demand(comes_true([] { return broker().up().native.load() == 60 * mib; }), "the broker is told what pools hold");
  CUdeviceptr too_much = 0;
  demand(cuMemAlloc_v2(&too_much, before - 58 * mib) == CUDA_ERROR_OUT_OF_MEMORY, "nothing beyond it is given");
  OK(cuMemFreeAsync(at[0], nullptr));
  OK(cuMemFree_v2(at[1]));
  OK(cuMemFree_v2(at[2]));
  OK(cuCtxSynchronize());
  demand(before - promised_free() == 32 * mib, "what is freed is free");
  OK(cuMemFreeAsync_ptsz(at[3], nullptr));
  OK(cuCtxSynchronize());
  OK(cuMemPoolDestroy(own));
  demand(promised_free() == before, "what pools have given back is free");
  OK(cuMemAlloc_v2(&too_much, before - 58 * mib));
  OK(cuMemFree_v2(too_much));
}

TEST_CASE("hazard 9: what a pool has just given back is given at once by cuMemAlloc") {
  const std::size_t before = promised_free();
  const CUmemoryPool pool = make_pool();
  const CUdeviceptr at = allocate_from(pool, 64 * mib);
  CUdeviceptr whole = 0;
  demand(cuMemAlloc_v2(&whole, before - 32 * mib) == CUDA_ERROR_OUT_OF_MEMORY, "nothing beyond it is given");
  OK(cuMemFree_v2(at));
  OK(cuMemPoolDestroy(pool));
  OK(cuMemAlloc_v2(&whole, before - 32 * mib));
  OK(cuMemFree_v2(whole));
}

}  // namespace lull::hazards
