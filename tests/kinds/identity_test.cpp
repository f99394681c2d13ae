// What a program is told of its memory is the same in every state; what ties it to other hardware keeps it where it is.
#include <atomic>
#include <cstring>
#include <thread>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

constexpr CUpointer_attribute all_attributes[] = {CU_POINTER_ATTRIBUTE_CONTEXT,
                                                  CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                                  CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                                  CU_POINTER_ATTRIBUTE_HOST_POINTER,
                                                  CU_POINTER_ATTRIBUTE_SYNC_MEMOPS,
                                                  CU_POINTER_ATTRIBUTE_BUFFER_ID,
                                                  CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                                  CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                                  CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE,
                                                  CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
                                                  CU_POINTER_ATTRIBUTE_RANGE_SIZE,
                                                  CU_POINTER_ATTRIBUTE_MAPPED,
                                                  CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES,
                                                  CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE,
                                                  CU_POINTER_ATTRIBUTE_ACCESS_FLAGS,
                                                  CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE,
                                                  CU_POINTER_ATTRIBUTE_MAPPING_SIZE,
                                                  CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR,
                                                  CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID,
                                                  CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE};

struct Answer {
  CUresult result = CUDA_ERROR_UNKNOWN;
  std::uint64_t value = 0;
  bool operator==(const Answer&) const = default;
};

// Everything that can be asked of an address.
std::vector<Answer> told(CUdeviceptr at) {
  std::vector<Answer> answers;
  for (const CUpointer_attribute attribute : all_attributes) {
    Answer one;
    one.result = cuPointerGetAttribute(&one.value, attribute, at);
    if (one.result != CUDA_SUCCESS) one.value = 0;
    answers.push_back(one);
  }
  std::vector<std::uint64_t> values(std::size(all_attributes));
  std::vector<void*> places;
  for (std::uint64_t& value : values) places.push_back(&value);
  std::vector<CUpointer_attribute> attributes(std::begin(all_attributes), std::end(all_attributes));
  const CUresult together =
      cuPointerGetAttributes(static_cast<unsigned>(attributes.size()), attributes.data(), places.data(), at);
  for (const std::uint64_t value : values) answers.push_back({together, value});
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  const CUresult range = cuMemGetAddressRange_v2(&base, &bytes, at);
  answers.push_back({range, base});
  answers.push_back({range, bytes});
  CUmemGenericAllocationHandle handle = 0;
  const CUresult retained = cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(at));
  if (retained == CUDA_SUCCESS) OK(cuMemRelease(handle));
  answers.push_back({retained, handle});
  return answers;
}

CUdeviceptr allocate(std::size_t bytes) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

CUdeviceptr map_own(std::size_t bytes) {
  (void)context();
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  const CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUmemGenericAllocationHandle handle = 0;
  CUdeviceptr at = 0;
  OK(cuMemCreate(&handle, bytes, &properties, 0));
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  OK(cuMemMap(at, bytes, 0, handle, 0));
  OK(cuMemSetAccess(at, bytes, &access, 1));
  OK(cuMemRelease(handle));
  return at;
}

// In whatever state the memory happens to be.
class Asker {
 public:
  explicit Asker(std::vector<CUdeviceptr> pointers) : pointers_(std::move(pointers)) {
    for (const CUdeviceptr at : pointers_) first_.push_back(told(at));
    thread_ = std::thread([this, current = context()] {
      OK(cuCtxSetCurrent(current));
      for (; !enough_; ++rounds_)
        for (std::size_t i = 0; i < pointers_.size(); ++i)
          demand(told(pointers_[i]) == first_[i], "what is told of memory is the same in every state");
    });
  }
  ~Asker() {
    enough_ = true;
    thread_.join();
  }
  void wait_for_a_round() const {
    demand(comes_true([this, before = rounds_.load()] { return rounds_ > before + 1; }), "questions are answered");
  }

 private:
  std::vector<CUdeviceptr> pointers_;
  std::vector<std::vector<Answer>> first_;
  std::atomic<bool> enough_{false};
  std::atomic<unsigned> rounds_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("base, size and attributes are exact and the same: present, leaving, absent and coming") {
  broker().give_backing(128 * mib);
  const CUdeviceptr large = allocate(40 * mib + 100), small = allocate(1000), own = map_own(24 * mib);
  for (std::uint32_t i = 0; i < 3; ++i) fill(i == 0 ? large : i == 1 ? small : own, i == 1 ? 1000 : 24 * mib, i);
  {
    const Asker asker({large, large + 20 * mib, small + 999, own, own + 24 * mib - 1});
    for (unsigned round = 0; round < 4; ++round) {
      fill(large, 8 * mib, round);  // so that something has to be copied
      demand(broker().evict_to(0), "the memory leaves");
      asker.wait_for_a_round();
      demand(broker().restore(), "the memory comes back");
      asker.wait_for_a_round();
    }
  }
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  OK(cuMemGetAddressRange_v2(&base, &bytes, large + 40 * mib));
  CHECK(base == large);
  CHECK(bytes == 40 * mib + 100);
  OK(cuMemUnmap(own, 24 * mib));
  OK(cuMemAddressFree(own, 24 * mib));
  for (const CUdeviceptr at : {large, small}) OK(cuMemFree_v2(at));
}

TEST_CASE("memory of cuMemAlloc answers as the driver's own would, but for what only the driver's can do") {
  const CUdeviceptr ours = allocate(4 * mib);
  CUdeviceptr native = 0;
  OK(reinterpret_cast<decltype(&cuMemAlloc_v2)>(behind_the_shim("cuMemAlloc_v2"))(&native, 4 * mib));
  for (const CUpointer_attribute attribute : all_attributes) {
    INFO("attribute ", static_cast<int>(attribute));
    std::uint64_t own = 0, plain = 0;
    CHECK(cuPointerGetAttribute(&own, attribute, ours + 5) == cuPointerGetAttribute(&plain, attribute, native + 5));
    switch (attribute) {
      case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR: CHECK(own - ours == plain - native); break;
      case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID: CHECK(own != 0); break;
      case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE: CHECK(own == 0); break;
      default: CHECK(own == plain);
    }
  }
  CUmemGenericAllocationHandle handle = 0;
  CHECK(cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(ours)) ==
        cuMemRetainAllocationHandle(&handle, reinterpret_cast<void*>(native)));
  OK(cuMemFree_v2(native));
  OK(cuMemFree_v2(ours));
}

TEST_CASE("memory that is made ready for other hardware stays where it is, is counted apart, and keeps its attribute") {
  const std::uint64_t needed = broker().up().needed.load();
  for (const bool mapped : {false, true}) {
    const CUdeviceptr at = mapped ? map_own(24 * mib) : allocate(24 * mib), other = allocate(24 * mib);
    fill(at, 24 * mib, 5);
    demand(broker().evict_to(0), "the memory leaves");
    const std::uint64_t wants = broker().up().wants.load();
    std::atomic<bool> done{false};
    std::thread setter([&, current = context()] {
      OK(cuCtxSetCurrent(current));
      const unsigned yes = 1;
      OK(cuPointerSetAttribute(&yes, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, at));
      done = true;
    });
    demand(comes_true([&] { return broker().up().wants.load() > wants; }), "it waits until all of it is there");
    CHECK_FALSE(done);
    demand(broker().restore(), "the memory comes back");
    setter.join();
    CHECK(comes_true([] { return broker().up().native.load() == 24 * mib; }));
    CHECK(broker().up().needed.load() == needed + 24 * mib);
    const std::size_t before = free_on_card();
    demand(broker().evict_to(0), "what is not tied leaves");
    CHECK(comes_true([&] { return free_on_card() == before + 24 * mib; }));
    unsigned now = 0;
    OK(cuPointerGetAttribute(&now, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, at));
    CHECK(now == 1);
    demand(broker().restore(), "the rest comes back");
    CHECK(intact(at, 24 * mib, 5));
    if (mapped) {
      OK(cuMemUnmap(at, 24 * mib));
      OK(cuMemAddressFree(at, 24 * mib));
    } else {
      OK(cuMemFree_v2(at));
    }
    OK(cuMemFree_v2(other));
    CHECK(comes_true([] { return broker().up().native.load() == 0; }));
  }
}

TEST_CASE("an attribute that ties nothing pins nothing") {
  const CUdeviceptr at = allocate(24 * mib);
  const unsigned no = 0;
  OK(cuPointerSetAttribute(&no, CU_POINTER_ATTRIBUTE_SYNC_MEMOPS, at));
  CHECK(broker().up().native.load() == 0);
  demand(broker().evict_to(0), "the memory leaves");
  demand(broker().restore(), "the memory comes back");
  OK(cuMemFree_v2(at));
}

}  // namespace lull::hazards
