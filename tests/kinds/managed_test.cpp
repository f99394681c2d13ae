// Managed memory leaves the card by prefetches and comes back by them; the host may use it all the while.
#include <atomic>
#include <cstring>
#include <thread>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

constexpr std::size_t large = 40 * mib;

CUdeviceptr allocate_managed(std::size_t bytes) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAllocManaged(&at, bytes, CU_MEM_ATTACH_GLOBAL));
  return at;
}

std::uint32_t* words(CUdeviceptr at) { return reinterpret_cast<std::uint32_t*>(at); }

void write(CUdeviceptr at, std::size_t bytes, std::uint32_t seed) {
  const auto content = pattern(bytes, seed);
  std::memcpy(words(at), content.data(), bytes);
}

// As the host sees it.
bool holds(CUdeviceptr at, std::size_t bytes, std::uint32_t seed) {
  const auto content = pattern(bytes, seed);
  return std::memcmp(words(at), content.data(), bytes) == 0;
}

void bring(CUdeviceptr at, std::size_t bytes) {
  OK(cuMemPrefetchAsync(at, bytes, 0, nullptr));
  OK(cuCtxSynchronize());
}

bool free_becomes(std::size_t bytes) {
  return comes_true([=] { return free_on_card() == bytes; });
}

std::uint64_t needed() { return broker().up().needed.load(); }
std::uint64_t resident() { return broker().up().resident.load(); }

}  // namespace

TEST_CASE("managed memory leaves the card and comes back, and the host reads and writes it meanwhile") {
  const std::uint64_t before = needed();
  const std::size_t free_at_first = free_on_card();
  const CUdeviceptr at = allocate_managed(large);
  CHECK(needed() == before + large);
  write(at, large, 1);
  bring(at, large);
  CHECK(free_on_card() == free_at_first - large);
  for (std::uint32_t round = 0; round < 2; ++round) {
    demand(broker().evict_to(0), "managed memory leaves");
    CHECK(free_becomes(free_at_first));
    CHECK(holds(at, large, 1 + round));
    write(at, large, 2 + round);
    demand(broker().restore(), "managed memory comes back");
    CHECK(free_on_card() == free_at_first - large);
    CHECK(intact(at, large, 2 + round));
  }
  OK(cuMemFree_v2(at));
  CHECK(needed() == before);
  CHECK(free_on_card() == free_at_first);
}

TEST_CASE("it needs no place of the broker's, crosses the link as copies do, and only the deficit moves") {
  const CUdeviceptr at = allocate_managed(large);
  write(at, large, 3);
  bring(at, large);
  const std::uint64_t evicted = broker().up().evicted_bytes.load(), restored = broker().up().restored_bytes.load();
  const std::uint64_t keep = resident() - 20 * mib;
  demand(broker().evict_to(keep), "a part leaves");
  const std::uint64_t moved = broker().up().evicted_bytes.load() - evicted;
  CHECK(moved >= 20 * mib);
  CHECK(moved < 20 * mib + 8 * mib);  // a chunk of this card
  demand(broker().restore(), "it comes back");
  CHECK(broker().up().restored_bytes.load() - restored == moved);
  CHECK(intact(at, large, 3));
  OK(cuMemFree_v2(at));
}

TEST_CASE("managed memory is allocated, used by the host and freed while there is no room for it") {
  const std::uint64_t before = needed(), room = resident();
  broker().quota(room);
  demand(comes_true([=] { return broker().up().seen_quota_plus_1.load() == room + 1; }), "the quota is seen");
  const CUdeviceptr at = allocate_managed(large), other = allocate_managed(large);
  CHECK(needed() == before + 2 * large);
  CHECK(resident() == room);
  write(at, large, 4);
  OK(cuMemFree_v2(other));
  CHECK(needed() == before + large);
  std::atomic<bool> done{false};
  std::thread submitter([&, current = context()] {
    OK(cuCtxSetCurrent(current));
    OK(cuMemsetD32_v2(at, 7, 1));
    done = true;
  });
  broker().quota(room + large - mib);  // not enough
  demand(comes_true([=] { return broker().up().seen_quota_plus_1.load() == room + large - mib + 1; }), "it is seen");
  CHECK_FALSE(done);
  broker().quota(~0ull >> 1);
  submitter.join();
  OK(cuCtxSynchronize());
  CHECK(words(at)[0] == 7);
  words(at)[0] = pattern(4, 4)[0];
  CHECK(holds(at, large, 4));
  OK(cuMemFree_v2(at));
}

TEST_CASE("what is said and asked of managed memory is the same, here or away") {
  const CUdeviceptr at = allocate_managed(large);
  bring(at, large);
  OK(cuMemAdvise(at, large, CU_MEM_ADVISE_SET_PREFERRED_LOCATION, 0));
  demand(broker().evict_to(0), "managed memory leaves");
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  unsigned managed = 0;
  OK(cuMemGetAddressRange_v2(&base, &bytes, at + large / 2));
  CHECK(base == at);
  CHECK(bytes == large);
  OK(cuPointerGetAttribute(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, at + 1));
  CHECK(managed == 1);
  int preferred = -9;
  OK(cuMemRangeGetAttribute(&preferred, 4, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, at, large));
  CHECK(preferred == 0);
  OK(cuMemAdvise(at, large, CU_MEM_ADVISE_SET_ACCESSED_BY, 0));
  demand(broker().restore(), "managed memory comes back");
  OK(cuMemRangeGetAttribute(&preferred, 4, CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION, at, large));
  CHECK(preferred == 0);
  OK(cuMemPrefetchAsync(at, large, CU_DEVICE_CPU, nullptr));  // the program's own
  OK(cuStreamAttachMemAsync(nullptr, at, 0, CU_MEM_ATTACH_GLOBAL));
  OK(cuCtxSynchronize());
  demand(broker().evict_to(0), "what is with the host leaves, too");
  demand(broker().restore(), "managed memory comes back");
  OK(cuMemFreeAsync(at, nullptr));
  OK(cuCtxSynchronize());
}

TEST_CASE("what is advised as mostly read leaves, and the advice stays") {
  const std::size_t free_at_first = free_on_card();
  const CUdeviceptr at = allocate_managed(large);
  write(at, large, 5);
  OK(cuMemAdvise(at, large, CU_MEM_ADVISE_SET_READ_MOSTLY, 0));
  bring(at, large);
  demand(broker().evict_to(0), "managed memory leaves");
  CHECK(free_becomes(free_at_first));
  int mostly_read = 0;
  OK(cuMemRangeGetAttribute(&mostly_read, 4, CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY, at, large));
  CHECK(mostly_read == 1);
  demand(broker().restore(), "managed memory comes back");
  CHECK(intact(at, large, 5));
  OK(cuMemFree_v2(at));
}

TEST_CASE("where host and device may not use it at once it stays where it is, and counts as native") {
  (void)context();
  int concurrent = 1;
  OK(cuDeviceGetAttribute(&concurrent, CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 0));
  if (concurrent) return;  // the test runs a second time on a card that is not
  const std::uint64_t before = needed();
  const CUdeviceptr at = allocate_managed(large);
  CHECK(needed() == before);
  CHECK(comes_true([] { return broker().up().native.load() == large; }));
  OK(cuMemFree_v2(at));
  CHECK(comes_true([] { return broker().up().native.load() == 0; }));
}

TEST_CASE("managed memory beyond what was promised is given as ever, and counts as native") {
  const std::size_t free = promised_free();
  const std::uint64_t before = needed();
  const CUdeviceptr at = allocate_managed(free + 64 * mib);
  CHECK(needed() == before);
  CHECK(comes_true([] { return broker().up().native.load() > 0; }));
  CHECK(promised_free() == free);  // the driver makes room for others
  demand(broker().evict_to(0), "the rest leaves");
  demand(broker().restore(), "the rest comes back");
  OK(cuMemFree_v2(at));
  CHECK(comes_true([] { return broker().up().native.load() == 0; }));
}

TEST_CASE("managed memory goes with its context, here or away") {
  for (const bool away : {false, true}) {
    const std::uint64_t before = needed();
    CUcontext own = nullptr;
    OK(cuCtxCreate_v2(&own, 0, 0));
    (void)allocate_managed(large);
    CHECK(needed() == before + large);
    if (away) demand(broker().evict_to(0), "managed memory leaves");
    OK(cuCtxDestroy_v2(own));
    CHECK(needed() == before);
    if (away) demand(broker().restore(), "the program goes on");
  }
}

TEST_CASE("managed memory comes and goes while it is being moved") {
  std::atomic<bool> enough{false};
  std::atomic<unsigned> rounds{0};
  std::thread program([&, current = context()] {
    OK(cuCtxSetCurrent(current));
    for (std::uint32_t seed = 0; !enough; ++seed, ++rounds) {
      const CUdeviceptr kept = allocate_managed(20 * mib), gone = allocate_managed(20 * mib);
      write(kept, 4096, seed);
      OK(cuMemFree_v2(gone));
      demand(holds(kept, 4096, seed), "the content is the same");
      OK(cuMemFree_v2(kept));
    }
  });
  for (unsigned i = 0; i < 12; ++i) {
    const unsigned before = rounds;
    broker().gate(GateState::closed);
    broker().quota(0);
    demand(comes_true([&] { return rounds > before + 2; }), "the program goes on while it is paused");
    broker().quota(~0ull >> 1);
    broker().gate(GateState::open);
  }
  enough = true;
  program.join();
  demand(broker().restore(), "the program goes on");
  CHECK(broker().up().needed.load() == broker().up().resident.load());
}

}  // namespace lull::hazards
