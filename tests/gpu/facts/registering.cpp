// Memory of the host that copies go to: what page-locking costs, by how it was made and by whom.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "broker/units.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

constexpr std::size_t huge_page = 2 * mib;

double seconds_per_gib(double took, std::size_t bytes) {
  return took * static_cast<double>(1ull << 30) / static_cast<double>(bytes);
}

struct Area {
  void* at = MAP_FAILED;
  std::size_t bytes = 0;
  explicit operator bool() const { return at != MAP_FAILED; }
};

Area map_area(std::size_t bytes, int flags, int file = -1) {
  Area area{::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0), bytes};
  if (area) std::memset(area.at, 1, bytes);
  return area;
}

json cost_of(const Area& area) {
  if (!area) return nullptr;
  double begin = now();
  OK(cuMemHostRegister, area.at, area.bytes, 0);
  const double registering = now() - begin;
  begin = now();
  OK(cuMemHostUnregister, area.at);
  const double giving_up = now() - begin;
  return {{"register_s_per_gib", seconds_per_gib(registering, area.bytes)},
          {"unregister_s_per_gib", seconds_per_gib(giving_up, area.bytes)}};
}

}  // namespace

FACT(registering, "E3",
     "What does page-locking cost: plain memory, huge pages, a memfd, a memfd another process has locked?") {
  const std::size_t bytes = fact.quick ? 8 * mib : 1024 * mib;
  const int file = ::memfd_create("lull-fact", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(bytes)) != 0) throw Skip("no memfd");
  Other other([&](const Other::Line& line) {
    const Card card;
    const auto area = map_area(bytes, MAP_SHARED, file);
    line(0);
    OK(cuMemHostRegister, area.at, area.bytes, 0);
    line(1);
  });
  (void)other.hear();
  const Card card;
  const auto plain = map_area(bytes, MAP_PRIVATE | MAP_ANONYMOUS);
  const Area through{::mmap(nullptr, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                     bytes};
  Area transparent;
  if (through) {
    const auto base = (reinterpret_cast<std::uintptr_t>(through.at) + huge_page - 1) / huge_page * huge_page;
    transparent = {reinterpret_cast<void*>(base), bytes};
    (void)::madvise(transparent.at, bytes, MADV_HUGEPAGE);
    std::memset(transparent.at, 1, bytes);
  }
  const auto huge = map_area(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
  const auto shared = map_area(bytes, MAP_SHARED, file);
  fact.figures = {{"bytes", bytes},
                  {"plain", cost_of(plain)},
                  {"transparent_huge_pages", cost_of(transparent)},
                  {"huge_pages", cost_of(huge)},
                  {"memfd", cost_of(shared)}};
  other.say(1);
  (void)other.hear();
  fact.figures["memfd_locked_by_another_process"] = cost_of(shared);
  const auto gib = [&](const char* name) {
    const auto& row = fact.figures[name];
    return row.is_null() ? std::string("not to be had")
                         : fmt::format("{:.0f} ms", row["register_s_per_gib"].get<double>() * 1e3);
  };
  fact.sentence = fmt::format(
      "1 GiB: plain {}, transparent huge pages {}, huge pages {}, memfd {}, memfd that another process "
      "has locked {}",
      gib("plain"), gib("transparent_huge_pages"), gib("huge_pages"), gib("memfd"),
      gib("memfd_locked_by_another_process"));
}

FACT(host_handles, "E3", "Can host memory be a handle (HOST_NUMA), exported, imported, and copied to at full rate?") {
  const Card card;
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_HOST_NUMA, 0};
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  std::size_t granule = 0;
  OK(cuMemGetAllocationGranularity, &granule, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
  const std::size_t bytes = std::max(granule, card.share(fact.quick ? 4 * mib : 256 * mib) / granule * granule);
  CUmemGenericAllocationHandle handle = 0;
  const double begin = now();
  const CUresult made = CU(cuMemCreate)(&handle, bytes, &properties, 0);
  const double making = now() - begin;
  fact.figures = {{"bytes", bytes}, {"create", name_of(made)}, {"create_s_per_gib", seconds_per_gib(making, bytes)}};
  if (made != CUDA_SUCCESS) {
    fact.sentence = fmt::format("no: cuMemCreate answers {}", name_of(made));
    return;
  }
  int file = -1;
  const CUresult exported =
      CU(cuMemExportToShareableHandle)(&file, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  CUmemGenericAllocationHandle again = 0;
  const CUresult imported =
      exported == CUDA_SUCCESS
          ? CU(cuMemImportFromShareableHandle)(&again, reinterpret_cast<void*>(static_cast<std::intptr_t>(file)),
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR)
          : exported;
  CUdeviceptr at = 0, there = 0;
  OK(cuMemAddressReserve, &at, bytes, 0, 0, 0);
  OK(cuMemMap, at, bytes, 0, handle, 0);
  const CUmemAccessDesc access[] = {writable(card),
                                    {{CU_MEM_LOCATION_TYPE_HOST_NUMA, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE}};
  OK(cuMemSetAccess, at, bytes, access, 2);
  OK(cuMemAlloc, &there, bytes);
  const auto stream = make_stream();
  double rate = 0;
  for (int i = 0; i < 3; ++i) {
    const double copy = now();
    OK(cuMemcpyDtoDAsync, at, there, bytes, stream);
    OK(cuStreamSynchronize, stream);
    rate = std::max(rate, static_cast<double>(bytes) / (now() - copy));
  }
  fact.figures.update({{"export", name_of(exported)}, {"import", name_of(imported)}, {"copy_out_bytes_per_s", rate}});
  fact.sentence = fmt::format("made; export {}, import {}; copies to it {:.1f} GB/s", name_of(exported),
                              name_of(imported), rate / 1e9);
}

}  // namespace lull::facts
