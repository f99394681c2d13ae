// Long copies between host and device go in pieces: the same bytes, the same errors, in a stream's order.
#include <cstring>

#include "tests/kinds/kinds.h"

namespace lull::hazards {
namespace {

constexpr std::size_t piece = 64 * mib, bytes = piece + 2 * mib;

CUdeviceptr allocate(std::size_t size) {
  (void)context();
  CUdeviceptr at = 0;
  OK(cuMemAlloc_v2(&at, size));
  return at;
}

CUdeviceptr address(void* at) { return reinterpret_cast<CUdeviceptr>(at); }

// Page-locked, so that the forms without a wait are tested as such.
struct Host {
  std::uint32_t* words = nullptr;
  explicit Host(std::size_t size) {
    (void)context();
    OK(cuMemHostAlloc(reinterpret_cast<void**>(&words), size, 0));
  }
};

// Each word differs from piece to piece and from round to round.
void write(std::uint32_t* words, std::uint32_t seed) {
  for (std::size_t i = 0; i < bytes / 4; ++i) words[i] = static_cast<std::uint32_t>(i) * 2654435761u + seed;
}

struct Places {
  Host from{bytes}, to{bytes};
  CUdeviceptr at = allocate(bytes);
  std::uint32_t seed = 0;
};
Places& places() {
  static Places all;
  return all;
}

// There and back by these functions, each of which is two calls of the driver's.
template <class There, class Back>
void check(const char* there_name, There there, const char* back_name, Back back) {
  Places& p = places();
  INFO(std::string(there_name), std::string(back_name));
  write(p.from.words, ++p.seed);
  std::memset(p.to.words, 0xff, bytes);
  const std::size_t there_before = calls(there_name), back_before = calls(back_name);
  CHECK(there(p.at, p.from.words) == CUDA_SUCCESS);
  CHECK(back(p.to.words, p.at) == CUDA_SUCCESS);
  OK(cuCtxSynchronize());
  CHECK(std::memcmp(p.from.words, p.to.words, bytes) == 0);
  const std::size_t pieces = std::string_view(there_name) == back_name ? 4 : 2;
  CHECK(calls(there_name) == there_before + pieces);
  CHECK(calls(back_name) == back_before + pieces);
}

}  // namespace

int run_role(std::string_view) { return 127; }  // no program beside these cases

TEST_CASE("a long copy by any function is two calls of the driver, and the same bytes") {
  const CUstream s = make_stream();
  const auto per_thread = CU_STREAM_PER_THREAD;
  check(
      "cuMemcpyHtoD_v2", [](auto d, auto h) { return cuMemcpyHtoD_v2(d, h, bytes); }, "cuMemcpyDtoH_v2",
      [](auto h, auto d) { return cuMemcpyDtoH_v2(h, d, bytes); });
  check(
      "cuMemcpyHtoD_v2_ptds", [](auto d, auto h) { return cuMemcpyHtoD_v2_ptds(d, h, bytes); }, "cuMemcpyDtoH_v2_ptds",
      [](auto h, auto d) { return cuMemcpyDtoH_v2_ptds(h, d, bytes); });
  check(
      "cuMemcpyHtoDAsync_v2", [=](auto d, auto h) { return cuMemcpyHtoDAsync_v2(d, h, bytes, s); },
      "cuMemcpyDtoHAsync_v2", [=](auto h, auto d) { return cuMemcpyDtoHAsync_v2(h, d, bytes, s); });
  check(
      "cuMemcpyHtoDAsync_v2_ptsz", [=](auto d, auto h) { return cuMemcpyHtoDAsync_v2_ptsz(d, h, bytes, per_thread); },
      "cuMemcpyDtoHAsync_v2_ptsz", [=](auto h, auto d) { return cuMemcpyDtoHAsync_v2_ptsz(h, d, bytes, per_thread); });
  check(
      "cuMemcpy", [](auto d, auto h) { return cuMemcpy(d, address(h), bytes); }, "cuMemcpy",
      [](auto h, auto d) { return cuMemcpy(address(h), d, bytes); });
  check(
      "cuMemcpy_ptds", [](auto d, auto h) { return cuMemcpy_ptds(d, address(h), bytes); }, "cuMemcpy_ptds",
      [](auto h, auto d) { return cuMemcpy_ptds(address(h), d, bytes); });
  check(
      "cuMemcpyAsync", [=](auto d, auto h) { return cuMemcpyAsync(d, address(h), bytes, s); }, "cuMemcpyAsync",
      [=](auto h, auto d) { return cuMemcpyAsync(address(h), d, bytes, s); });
  check(
      "cuMemcpyAsync_ptsz", [](auto d, auto h) { return cuMemcpyAsync_ptsz(d, address(h), bytes, nullptr); },
      "cuMemcpyAsync_ptsz", [](auto h, auto d) { return cuMemcpyAsync_ptsz(address(h), d, bytes, nullptr); });
  OK(cuStreamDestroy_v2(s));
}

TEST_CASE("up to 64 MiB, and between two places of the device, a copy is one call") {
  const CUdeviceptr a = allocate(bytes), b = allocate(bytes);
  const std::vector<std::uint32_t> words = pattern(piece, 3);
  const std::size_t there = calls("cuMemcpyHtoD_v2"), generic = calls("cuMemcpy");
  OK(cuMemcpyHtoD_v2(a, words.data(), piece));
  OK(cuMemcpy(b, a, bytes));
  CHECK(calls("cuMemcpyHtoD_v2") == there + 1);
  CHECK(calls("cuMemcpy") == generic + 1);
  CHECK(intact(b, piece, 3));
  OK(cuMemFree_v2(a));
  OK(cuMemFree_v2(b));
}

TEST_CASE("a copy that the driver refuses is refused before anything has moved") {
  // Of a kind whose ends the driver checks at the call: the shim's own ends in unmapped addresses.
  CUdeviceptr native = 0;
  (void)context();
  OK(cuMemAllocManaged(&native, bytes, CU_MEM_ATTACH_GLOBAL));
  OK(cuMemsetD8_v2(native, 0, bytes));
  const std::vector<std::uint32_t> words = pattern(bytes + 2 * mib, 4);
  const std::size_t before = calls("cuMemcpyHtoD_v2", false);
  CHECK(cuMemcpyHtoD_v2(native, words.data(), bytes + 2 * mib) == CUDA_ERROR_INVALID_VALUE);
  CHECK(calls("cuMemcpyHtoD_v2", false) == before + 1);
  CHECK(cuMemcpyHtoDAsync_v2(native, words.data(), bytes, reinterpret_cast<CUstream>(0x10)) != CUDA_SUCCESS);
  std::vector<std::uint32_t> now(bytes / 4, 1);
  OK(cuMemcpyDtoH_v2(now.data(), native, bytes));
  CHECK(now == std::vector<std::uint32_t>(bytes / 4, 0));
  OK(cuMemFree_v2(native));
  // Host memory of which a part is page-locked is the driver's to judge, too.
  const CUdeviceptr own = allocate(bytes);
  auto* some = static_cast<char*>(std::aligned_alloc(4096, bytes));
  OK(cuMemHostRegister_v2(some, mib, 0));
  const std::size_t there = calls("cuMemcpyHtoD_v2", false);
  (void)cuMemcpyHtoD_v2(own, some, bytes);
  CHECK(calls("cuMemcpyHtoD_v2", false) == there + 1);
  OK(cuMemHostUnregister(some));
  std::free(some);
  OK(cuMemFree_v2(own));
}

TEST_CASE("the program's own virtual memory is split where it is mapped and open from end to end") {
  (void)context();
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  const CUmemAccessDesc access{properties.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  CUdeviceptr at = 0;
  constexpr std::size_t half = bytes / 2;
  OK(cuMemAddressReserve(&at, bytes, 0, 0, 0));
  for (const std::size_t offset : {std::size_t{0}, half / granule * granule}) {
    CUmemGenericAllocationHandle handle = 0;
    const std::size_t size = offset ? bytes - offset : half / granule * granule;
    OK(cuMemCreate(&handle, size, &properties, 0));
    OK(cuMemMap(at + offset, size, 0, handle, 0));
    OK(cuMemRelease(handle));
  }
  OK(cuMemSetAccess(at, bytes, &access, 1));
  const std::size_t before = calls("cuMemcpyHtoD_v2");
  fill(at, bytes, 6);
  CHECK(calls("cuMemcpyHtoD_v2") == before + 2);
  CHECK(intact(at, bytes, 6));
  OK(cuMemUnmap(at, bytes));
  OK(cuMemAddressFree(at, bytes));
}

TEST_CASE("inside a capture a long copy is one node") {
  const CUstream s = make_stream();
  CUgraph graph = nullptr;
  std::size_t nodes = 0;
  OK(cuStreamBeginCapture_v2(s, CU_STREAM_CAPTURE_MODE_RELAXED));
  OK(cuMemcpyHtoDAsync_v2(places().at, places().from.words, bytes, s));
  OK(cuStreamEndCapture(s, &graph));
  OK(cuGraphGetNodes(graph, nullptr, &nodes));
  CHECK(nodes == 1);
  OK(cuGraphDestroy(graph));
  OK(cuStreamDestroy_v2(s));
  OK(cuMemFree_v2(places().at));
}

}  // namespace lull::hazards
