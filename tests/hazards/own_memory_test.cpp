// Hazard 12: the program's own virtual memory keeps its handles, its addresses and its content while it moves.
#include <unistd.h>

#include "tests/hazards/support.h"

namespace lull::hazards {
namespace {

CUmemAllocationProp device_memory(CUmemAllocationHandleType types = CU_MEM_HANDLE_TYPE_NONE) {
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  properties.requestedHandleTypes = types;
  return properties;
}

CUmemAccessDesc access_to(CUmemAccess_flags flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE) {
  return {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, flags};
}

CUmemGenericAllocationHandle create(std::size_t bytes, CUmemAllocationHandleType types = CU_MEM_HANDLE_TYPE_NONE) {
  CUmemGenericAllocationHandle handle = 0;
  const auto properties = device_memory(types);
  OK(cuMemCreate(&handle, bytes, &properties, 0));
  return handle;
}

CUdeviceptr reserve(std::size_t bytes) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  return at;
}

void map(CUdeviceptr at, std::size_t bytes, CUmemGenericAllocationHandle handle) {
  const auto access = access_to();
  OK(cuMemMap(at, bytes, 0, handle, 0));
  OK(cuMemSetAccess(at, bytes, &access, 1));
}

void evict() { demand(broker().evict_to(0), "the program's own virtual memory leaves the card"); }
void restore() { demand(broker().restore(), "the program's own virtual memory comes back"); }

bool is_handle_of(CUdeviceptr at, CUmemGenericAllocationHandle handle) {
  CUmemGenericAllocationHandle retained = 0;
  if (cuMemRetainAllocationHandle(&retained, reinterpret_cast<void*>(at)) != CUDA_SUCCESS) return false;
  OK(cuMemRelease(retained));
  return retained == handle;
}

void let_go(CUdeviceptr at, std::size_t bytes) {
  OK(cuMemUnmap(at, bytes));
  OK(cuMemAddressFree(at, bytes));
}

}  // namespace

TEST_CASE("hazard 12: memory created, mapped and released at once moves and comes back where it was") {
  broker().give_backing(128 * mib);
  const CUdeviceptr at = reserve(20 * mib);
  const auto handle = create(20 * mib);
  map(at, 20 * mib, handle);
  OK(cuMemRelease(handle));
  fill(at, 20 * mib, 1);
  const std::uint64_t evicted = broker().up().evicted_bytes.load();
  evict();
  demand(broker().up().evicted_bytes.load() >= evicted + 20 * mib, "the program's own virtual memory leaves the card");
  restore();
  demand(intact(at, 20 * mib, 1), "the content is the same after the move");
  let_go(at, 20 * mib);
  demand(broker().up().needed.load() == 0, "what is unmapped and released is given back");
}

TEST_CASE("hazard 12: a retained handle is the one the program knows, resident or not") {
  const CUdeviceptr at = reserve(granule);
  const auto handle = create(granule);
  map(at, granule, handle);
  fill(at, granule, 2);
  demand(is_handle_of(at, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  evict();
  demand(is_handle_of(at, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  restore();
  demand(is_handle_of(at, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  demand(intact(at, granule, 2), "the content is the same after the move");
  OK(cuMemRelease(handle));
  demand(is_handle_of(at, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  let_go(at, granule);
}

TEST_CASE("hazard 12: one cuMemUnmap takes away three mappings that are not there, and nothing of them comes back") {
  const CUdeviceptr at = reserve(3 * granule);
  CUmemGenericAllocationHandle handles[3];
  for (unsigned i = 0; i < 3; ++i) map(at + i * granule, granule, handles[i] = create(granule));
  fill(at, 3 * granule, 3);
  evict();
  demand(cuMemUnmap(at, granule / 2) == CUDA_ERROR_INVALID_VALUE, "a part of a mapping is not unmapped");
  demand(cuMemAddressFree(at, 3 * granule) == CUDA_ERROR_INVALID_VALUE, "addresses in use are not freed");
  OK(cuMemUnmap(at, 3 * granule));
  restore();
  for (const auto& handle : handles) {  // unmapped memory keeps its content for the next mapping
    const CUdeviceptr elsewhere = reserve(granule);
    map(elsewhere, granule, handle);
    std::vector<std::uint32_t> words(granule / 4);
    OK(cuMemcpyDtoH_v2(words.data(), elsewhere, granule));
    const auto all = pattern(3 * granule, 3);
    const auto place = static_cast<std::size_t>(&handle - handles) * granule / 4;
    demand(std::equal(words.begin(), words.end(), all.begin() + static_cast<std::ptrdiff_t>(place)),
           "unmapped memory keeps its content");
    OK(cuMemRelease(handle));
    let_go(elsewhere, granule);
  }
  OK(cuMemAddressFree(at, 3 * granule));
  demand(broker().up().needed.load() == 0, "what is unmapped and released is given back");
}

TEST_CASE("hazard 12: memory is created, mapped, opened and asked about while there is no room for it") {
  broker().quota(0);
  demand(comes_true([] { return broker().up().seen_quota_plus_1.load() == 1; }), "the quota is seen");
  const CUdeviceptr at = reserve(3 * granule), second = reserve(granule);
  const auto handle = create(2 * granule);
  OK(cuMemMap(at, 2 * granule, 0, handle, 0));
  demand(cuMemMap(at, granule, 0, handle, 0) == CUDA_ERROR_INVALID_VALUE, "a range in use is not mapped again");
  demand(cuMemMap(at + 2 * granule, 2 * granule, 0, handle, 0) == CUDA_ERROR_INVALID_VALUE,
         "nothing is mapped beyond a reservation");
  const auto access = access_to();
  OK(cuMemSetAccess(at, 2 * granule, &access, 1));
  OK(cuMemMap(second, granule, 0, handle, 0));  // the first half a second time, to be read only
  const auto reading = access_to(CU_MEM_ACCESS_FLAGS_PROT_READ);
  OK(cuMemSetAccess(second, granule, &reading, 1));
  unsigned long long flags = 0;
  OK(cuMemGetAccess(&flags, &reading.location, second));
  demand(flags == CU_MEM_ACCESS_FLAGS_PROT_READ, "access is as it was given");
  CUdeviceptr base = 0;
  std::size_t bytes = 0;
  OK(cuMemGetAddressRange_v2(&base, &bytes, at + granule + 5));
  demand(base == at && bytes == 2 * granule, "an address range is its mapping");
  int mapped = 0;
  OK(cuPointerGetAttribute(&mapped, CU_POINTER_ATTRIBUTE_MAPPED, at));
  demand(mapped == 1, "a mapped pointer is said to be mapped");
  CUdeviceptr start = 0;
  OK(cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, at + granule));
  OK(cuPointerGetAttribute(&bytes, CU_POINTER_ATTRIBUTE_RANGE_SIZE, at + granule));
  demand(start == at && bytes == 3 * granule, "the range of a mapped pointer is its reservation");
  CUmemAllocationProp properties{};
  OK(cuMemGetAllocationPropertiesFromHandle(&properties, handle));
  demand(properties.location.id == 0 && properties.type == CU_MEM_ALLOCATION_TYPE_PINNED,
         "properties are as asked for");
  broker().quota(~0ull >> 1);
  fill(at, 2 * granule, 4);
  demand(intact(second, granule, 4), "both mappings show the same memory");
  OK(cuMemUnmap(second, granule));
  OK(cuMemAddressFree(second, granule));
  OK(cuMemRelease(handle));
  OK(cuMemUnmap(at, 2 * granule));
  OK(cuMemAddressFree(at, 3 * granule));
  demand(cuMemRelease(handle) == CUDA_ERROR_INVALID_VALUE, "a handle that is gone is refused");
}

TEST_CASE("hazard 12: a handle larger than a chunk is one handle to the program, and only its deficit moves") {
  constexpr std::size_t large = 40 * mib;
  const CUdeviceptr at = reserve(large);
  const auto handle = create(large);
  map(at, large, handle);
  fill(at, large, 5);
  const std::uint64_t before = broker().up().evicted_bytes.load();
  demand(broker().evict_to(large - 8 * mib), "a part of the handle's memory leaves");
  demand(broker().up().evicted_bytes.load() - before < large, "only the deficit moves");
  demand(is_handle_of(at + large - 1, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  restore();
  demand(intact(at, large, 5), "the content is the same after the move");
  OK(cuMemRelease(handle));
  let_go(at, large);
}

TEST_CASE("hazard 13: exported memory stays where it is, is counted apart, and its importers see what is written") {
  broker().give_backing(64 * mib);
  const CUdeviceptr at = reserve(8 * mib), alias = reserve(8 * mib), other = reserve(8 * mib);
  const auto handle = create(8 * mib, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
  map(at, 8 * mib, handle);
  fill(at, 8 * mib, 6);
  const auto movable = create(8 * mib);
  map(other, 8 * mib, movable);
  fill(other, 8 * mib, 7);
  evict();  // an export must not depend on where the memory is: it waits at the gate
  restore();
  int fd = -1;
  OK(cuMemExportToShareableHandle(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
  CUmemGenericAllocationHandle imported = 0;
  OK(cuMemImportFromShareableHandle(&imported, reinterpret_cast<void*>(static_cast<std::intptr_t>(fd)),
                                    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
  map(alias, 8 * mib, imported);
  const bool reported = broker().up().native.load() == 8 * mib && broker().up().needed.load() == 8 * mib;
  evict();
  restore();
  fill(at, 8 * mib, 8);
  demand(intact(alias, 8 * mib, 8), "an importer sees what the exporter writes");
  demand(intact(other, 8 * mib, 7), "other memory moves as before");
  demand(reported, "exported memory is reported as memory that does not move");
  demand(is_handle_of(at, handle), "cuMemRetainAllocationHandle answers the handle that was mapped");
  (void)::close(fd);
  for (const auto one : {handle, imported, movable}) OK(cuMemRelease(one));
  for (const CUdeviceptr one : {at, alias, other}) let_go(one, 8 * mib);
  demand(broker().up().native.load() == 0 && broker().up().needed.load() == 0,
         "what is unmapped and released is given back");
}

}  // namespace lull::hazards
