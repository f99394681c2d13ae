// What programs can see: pointers, address ranges, and where functions come from.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

struct Attribute {
  const char* name;
  CUpointer_attribute which;
};
#define LULL_ATTRIBUTE(name) \
  { #name, CU_POINTER_ATTRIBUTE_##name }
constexpr Attribute attributes[] = {
    LULL_ATTRIBUTE(CONTEXT),          LULL_ATTRIBUTE(MEMORY_TYPE),
    LULL_ATTRIBUTE(DEVICE_POINTER),   LULL_ATTRIBUTE(HOST_POINTER),
    LULL_ATTRIBUTE(SYNC_MEMOPS),      LULL_ATTRIBUTE(BUFFER_ID),
    LULL_ATTRIBUTE(IS_MANAGED),       LULL_ATTRIBUTE(DEVICE_ORDINAL),
    LULL_ATTRIBUTE(RANGE_START_ADDR), LULL_ATTRIBUTE(RANGE_SIZE),
    LULL_ATTRIBUTE(MAPPED),           LULL_ATTRIBUTE(ALLOWED_HANDLE_TYPES),
    LULL_ATTRIBUTE(MEMPOOL_HANDLE),   LULL_ATTRIBUTE(IS_LEGACY_CUDA_IPC_CAPABLE),
    LULL_ATTRIBUTE(MAPPING_SIZE),     LULL_ATTRIBUTE(IS_GPU_DIRECT_RDMA_CAPABLE),
};
#undef LULL_ATTRIBUTE

json seen_at(CUdeviceptr at, CUdeviceptr base) {
  json row;
  for (const Attribute& a : attributes) {
    std::uint64_t value = 0;
    const CUresult result = CU(cuPointerGetAttribute)(&value, a.which, at);
    if (result != CUDA_SUCCESS) {
      row[a.name] = name_of(result);
    } else if (a.which == CU_POINTER_ATTRIBUTE_CONTEXT || a.which == CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE) {
      row[a.name] = value ? "some" : "none";
    } else if (a.which == CU_POINTER_ATTRIBUTE_DEVICE_POINTER || a.which == CU_POINTER_ATTRIBUTE_RANGE_START_ADDR) {
      row[a.name] = fmt::format("base{:+}", static_cast<std::int64_t>(value - base));
    } else if (a.which != CU_POINTER_ATTRIBUTE_BUFFER_ID) {
      row[a.name] = value;
    }
  }
  CUdeviceptr range = 0;
  std::size_t size = 0;
  const CUresult result = CU(cuMemGetAddressRange)(&range, &size, at);
  row["cuMemGetAddressRange"] = result == CUDA_SUCCESS
                                    ? json(fmt::format("base{:+}, {}", static_cast<std::int64_t>(range - base), size))
                                    : json(name_of(result));
  CUmemGenericAllocationHandle handle = 0;
  const CUresult retained = CU(cuMemRetainAllocationHandle)(&handle, reinterpret_cast<void*>(at));
  if (retained == CUDA_SUCCESS) OK(cuMemRelease, handle);
  row["cuMemRetainAllocationHandle"] = name_of(retained);
  return row;
}

}  // namespace

FACT(pointers, "E9", "How does mapped memory look beside memory of cuMemAlloc, attribute by attribute?") {
  const Card card;
  const std::size_t bytes = card.granularity;
  CUdeviceptr plain = 0;
  OK(cuMemAlloc, &plain, bytes);
  const Mapped mapped(card, 2 * bytes, bytes);
  const auto native = seen_at(plain + 4096, plain), vmm = seen_at(mapped.at() + bytes + 4096, mapped.at());
  std::string differ;
  for (const auto& [name, value] : native.items())
    if (vmm[name] != value) differ += (differ.empty() ? "" : ", ") + name;
  fact.figures = {{"cuMemAlloc", native}, {"mapped_second_of_two_handles", vmm}};
  fact.sentence = "they differ in: " + differ;
}

FACT(small_blocks, "E9", "How are small blocks of cuMemAlloc aligned, and what may be touched behind them?") {
  const Card card;
  json rows = json::array();
  std::uint64_t least_alignment = ~0ull;
  for (const std::size_t bytes : {1, 100, 512, 513, 1000, 4097, 65'537, 1'048'577, 3'000'000}) {
    CUdeviceptr at[4] = {};
    for (CUdeviceptr& one : at) OK(cuMemAlloc, &one, bytes);
    std::uint64_t distance = ~0ull, alignment = ~0ull;
    for (std::size_t i = 0; i < std::size(at); ++i) {
      alignment = std::min<std::uint64_t>(alignment, at[i] & -at[i]);
      if (i > 0) distance = std::min<std::uint64_t>(distance, std::max(at[i], at[i - 1]) - std::min(at[i], at[i - 1]));
    }
    CUdeviceptr base = 0;
    std::size_t size = 0;
    OK(cuMemGetAddressRange, &base, &size, at[0]);
    const CUresult behind = CU(cuMemsetD8)(at[0] + bytes, 0, 1);
    rows.push_back({{"bytes", bytes},
                    {"alignment", alignment},
                    {"least_distance", distance},
                    {"range_bytes", size},
                    {"memset_of_the_byte_behind", name_of(behind)}});
    least_alignment = std::min(least_alignment, alignment);
    if (behind != CUDA_SUCCESS && behind != CUDA_ERROR_INVALID_VALUE) break;  // the context may be lost
    for (const CUdeviceptr one : at) OK(cuMemFree, one);
  }
  fact.figures = {{"blocks", rows}};
  fact.sentence = fmt::format("every block began at a multiple of {} bytes", least_alignment);
}

FACT(symbols, "", "Does cuGetProcAddress answer with the exported function itself?") {
  const Card card;
  // The functions of which the shim's handlers depend most, each with the version its name stands for.
  struct Name {
    const char *asked, *exported;
    int version;
  };
  constexpr Name names[] = {{"cuMemAlloc", "cuMemAlloc_v2", 3020},
                            {"cuMemFree", "cuMemFree_v2", 3020},
                            {"cuLaunchKernel", "cuLaunchKernel", 4000},
                            {"cuLaunchKernelEx", "cuLaunchKernelEx", 11060},
                            {"cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2", 3020},
                            {"cuStreamSynchronize", "cuStreamSynchronize", 2000},
                            {"cuEventRecord", "cuEventRecord", 2000},
                            {"cuGraphLaunch", "cuGraphLaunch", 10000},
                            {"cuMemAllocAsync", "cuMemAllocAsync", 11020},
                            {"cuMemCreate", "cuMemCreate", 10020},
                            {"cuMemGetInfo", "cuMemGetInfo_v2", 3020},
                            {"cuCtxCreate", "cuCtxCreate_v2", 3020},
                            {"cuGetProcAddress", "cuGetProcAddress_v2", 12000}};
  const auto ask =
      reinterpret_cast<CUresult (*)(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*)>(
          symbol("cuGetProcAddress_v2"));
  std::size_t same = 0;
  std::string others;
  for (const Name& name : names) {
    void* answer = nullptr;
    CUdriverProcAddressQueryResult status{};
    const CUresult result = ask(name.asked, &answer, name.version, 0, &status);
    const bool is = result == CUDA_SUCCESS && answer == symbol(name.exported);
    same += is;
    fact.figures[name.exported] = is ? "the same" : result == CUDA_SUCCESS ? "another address" : name_of(result);
    if (!is) others += fmt::format("{}{}", others.empty() ? "" : ", ", name.exported);
  }
  fact.sentence = fmt::format("{} of {} are{}{}", same, std::size(names), others.empty() ? "" : "; not: ", others);
}

}  // namespace lull::facts
