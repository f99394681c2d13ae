// Memory of every kind that moves, with what must be in it.
#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

CUdeviceptr allocate(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, bytes));
  return at;
}

void free_allocated(CUdeviceptr at, std::size_t) { CHECK_EQ(cuMemFree_v2(at), CUDA_SUCCESS); }

CUdeviceptr make_own(std::size_t bytes) {
  const CUdeviceptr at = reserve(bytes);
  const auto handle = create(bytes);
  map(at, bytes, handle);
  OK(cuMemRelease(handle));
  return at;
}

void unmake_own(CUdeviceptr at, std::size_t bytes) {
  CHECK_EQ(cuMemUnmap(at, bytes), CUDA_SUCCESS);
  CHECK_EQ(cuMemAddressFree(at, bytes), CUDA_SUCCESS);
}

std::uint32_t word(std::size_t index, std::uint32_t seed) {
  return (static_cast<std::uint32_t>(index) + seed * 40503u) * 2654435761u + seed;
}

}  // namespace

const Kind kinds[2] = {{"cuMemAlloc", allocate, free_allocated}, {"cuMemCreate", make_own, unmake_own}};

CUdeviceptr reserve(std::size_t bytes) {
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  return at;
}

CUmemGenericAllocationHandle create(std::size_t bytes) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  CUmemGenericAllocationHandle handle = 0;
  OK(cuMemCreate(&handle, bytes, &properties, 0));
  return handle;
}

void map(CUdeviceptr at, std::size_t bytes, CUmemGenericAllocationHandle handle) {
  const CUmemAccessDesc access{{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  OK(cuMemMap(at, bytes, 0, handle, 0));
  OK(cuMemSetAccess(at, bytes, &access, 1));
}

Memory::Memory(std::size_t bytes, std::uint32_t seed, const Kind& kind) : kind_(kind), expected_(bytes / 4) {
  (void)context();
  at_ = kind.make(bytes);
  if (seed) fill(seed);
}

void Memory::fill(std::uint32_t seed) { fill(seed, 0, bytes()); }

void Memory::fill(std::uint32_t seed, std::size_t from, std::size_t count) {
  for (std::size_t i = from / 4; i < (from + count) / 4; ++i) expected_[i] = word(i, seed);
  OK(cuMemcpyHtoD_v2(at_ + from, expected_.data() + from / 4, count));
}

void Memory::zero() {
  expected_.assign(expected_.size(), 0);
  OK(cuMemsetD32_v2(at_, 0, expected_.size()));
}

void Memory::change_byte(std::size_t offset) {
  auto* byte = reinterpret_cast<unsigned char*>(expected_.data()) + offset;
  ++*byte;
  OK(cuMemcpyHtoD_v2(at_ + offset, byte, 1));
}

bool Memory::intact() const {
  std::vector<std::uint32_t> now(expected_.size());
  return cuMemcpyDtoH_v2(now.data(), at_, bytes()) == CUDA_SUCCESS && now == expected_;
}

Reader::Reader(std::vector<const Memory*> all)
    : thread_([this, all = std::move(all), current = context()] {
        (void)cuCtxSetCurrent(current);
        for (const Memory* memory : all)
          if (!memory->intact()) intact_ = false;
        done_ = true;
      }) {}

Reader::~Reader() {
  if (!done_) {
    tell_driver("clear");
    (void)restore();
  }
  thread_.join();
}

void Memory::unmake() {
  if (at_) kind_.unmake(at_, bytes());
  at_ = 0;
}

}  // namespace lull::residency_test
