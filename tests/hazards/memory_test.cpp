// Hazards 9, 11, 13, 16 and 17: sizes, small allocations, what leaves the process, managed memory, what goes with a
// context.
#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

struct Sizes {
  std::size_t free = 0, total = 0;
};
Sizes sizes() {
  (void)context();
  Sizes now;
  OK(cuMemGetInfo_v2(&now.free, &now.total));
  return now;
}

}  // namespace

TEST_CASE("hazard 9: total and free memory are this program's own affair") {
  const Sizes before = sizes();
  std::size_t total = 0;
  OK(cuDeviceTotalMem_v2(&total, 0));
  demand(before.total == total && total == total_before_any_context(),
         "the total is the same in every answer, and from the first");
  for (unsigned i = 0; i < 3; ++i) {
    Program neighbour(role("take-all"), Preload::no);
    demand(neighbour.line() == "taken", "a neighbour takes the card");
    demand(sizes().free == before.free, "a neighbour's memory does not change what is free");
    neighbour.release();
    demand(neighbour.wait(10) == 0, "the neighbour ends");
    demand(sizes().free == before.free && sizes().total == before.total,
           "a neighbour's end does not change what is free");
  }
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, 30 * mib));
  demand(before.free - sizes().free == 30 * mib, "the program's own memory is no longer free");
  OK(cuMemFree_v2(at));
  demand(sizes().free == before.free, "what the program frees is free");
}

TEST_CASE("hazard 11: ten thousand small allocations take no more than 32 MiB, and each answers for itself") {
  const std::uint64_t before = broker().up().needed.load();
  std::vector<CUdeviceptr> small(10000);
  for (CUdeviceptr& at : small)
    demand(cuMemAlloc_v2(&at, 1024) == CUDA_SUCCESS, "small allocations share their memory");
  demand(broker().up().needed.load() - before <= 32 * mib, "small allocations share their memory");
  for (const CUdeviceptr at : small) {
    CUdeviceptr base = 0;
    std::size_t bytes = 0;
    OK(cuMemGetAddressRange_v2(&base, &bytes, at + 1023));
    demand(base == at && bytes == 1024 && at % 512 == 0, "each small allocation has its own range");
  }
  for (const CUdeviceptr at : small) OK(cuMemFree_v2(at));
  demand(broker().up().needed.load() == before, "what is freed is given back");
}

TEST_CASE("hazard 11: small allocations need nothing of the driver's, eight chunks take 18 calls, and 17 back") {
  const auto sum = [](std::initializer_list<const char*> functions) {
    std::size_t all = 0;
    for (const char* function : functions) all += calls(function, false);
    return all;
  };
  const auto made = [&] {
    return sum({"cuMemAlloc_v2", "cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess"});
  };
  const auto given_back = [&] { return sum({"cuMemFree_v2", "cuMemUnmap", "cuMemRelease", "cuMemAddressFree"}); };
  (void)context();
  CUdeviceptr first = 0, at = 0;
  OK(cuMemAlloc_v2(&first, 1024));
  const std::size_t made_before = made(), back_before = given_back();
  for (unsigned i = 0; i < 2000; ++i) {
    OK(cuMemAlloc_v2(&at, 1024));
    OK(cuMemFree_v2(at));
  }
  demand(made() == made_before && given_back() == back_before, "small allocations share their memory, call for call");
  constexpr std::size_t n = 8, chunk = 8 * mib;  // of a card of 512 MiB
  OK(cuMemAlloc_v2(&at, n * chunk));
  demand(made() - made_before <= 2 + 2 * n, "neighbouring chunks are made accessible by one call");
  OK(cuMemFree_v2(at));
  demand(given_back() - back_before <= 1 + 2 * n, "n chunks go back with 1 + 2 n calls");
  OK(cuMemFree_v2(first));
}

TEST_CASE("hazard 13: legacy IPC of memory that can move is refused in words the program knows") {
  (void)context();
  CUdeviceptr at = 0;
  CUipcMemHandle handle;
  OK(cuMemAlloc_v2(&at, 4 * mib));
  demand(cuIpcGetMemHandle(&handle, at) == CUDA_ERROR_NOT_SUPPORTED, "cuIpcGetMemHandle answers NOT_SUPPORTED");
  int capable = 1;
  OK(cuPointerGetAttribute(&capable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE, at));
  demand(capable == 0, "a pointer says that it is not for legacy IPC");
  OK(cuMemFree_v2(at));
}

TEST_CASE("hazard 16: managed memory makes room like any other") {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAllocManaged(&at, 32 * mib, CU_MEM_ATTACH_GLOBAL));
  fill(at, 32 * mib, 1);
  const auto free_on_card = [ask = reinterpret_cast<decltype(&cuMemGetInfo_v2)>(behind_the_shim("cuMemGetInfo_v2"))] {
    Sizes now;
    OK(ask(&now.free, &now.total));
    return now.free;
  };
  const std::size_t before = free_on_card();
  demand(broker().evict_to(0), "the memory leaves");
  demand(comes_true([&] { return free_on_card() >= before + 32 * mib; }), "managed memory leaves the card");
  demand(broker().restore(), "the memory comes back");
  demand(intact(at, 32 * mib, 1), "the content is the same after the move");
  OK(cuMemFree_v2(at));
}

TEST_CASE("hazard 17: what was allocated in a context goes with it") {
  (void)context();
  CUdeviceptr large = 0, small = 0;
  OK(cuMemAlloc_v2(&large, 40 * mib));
  OK(cuMemAlloc_v2(&small, 1000));
  demand(calls("cuMemCreate") > calls("cuMemRelease"), "the memory is made by cuMemCreate");
  OK(cuDevicePrimaryCtxReset_v2(0));
  demand(calls("cuMemCreate") == calls("cuMemRelease"), "a reset leaves no handle behind");
  demand(broker().up().needed.load() == 0, "a reset leaves nothing to account for");
}

}  // namespace lull::hazards
