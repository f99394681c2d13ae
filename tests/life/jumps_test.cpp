// Handlers that jump out of the shim at any instruction, also where it holds locks of its own, and what they leave
// behind.
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <csetjmp>
#include <csignal>

#include <array>

#include "tests/hazards/support.h"
#include "tests/random/dice.h"

namespace lull::hazards {
namespace {

struct Object {
  const char* name;
  std::uintptr_t from = 0, to = 0;
  bool contains(const void* address) const {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return from <= at && at < to;
  }
};
Object shim{"liblull.so"}, driver{"libcuda.so.1"};

int find_object(dl_phdr_info* info, std::size_t, void*) {
  for (Object* object : {&shim, &driver}) {
    if (!std::string_view(info->dlpi_name).ends_with(object->name)) continue;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const ElfW(Phdr)& part = info->dlpi_phdr[i];
      if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
      object->from = info->dlpi_addr + part.p_vaddr;
      object->to = object->from + part.p_memsz;
    }
  }
  return 0;
}

thread_local sigjmp_buf way_out;
thread_local bool may_jump = false;
std::atomic<unsigned> jumps{0};

// Out of the shim, but not out of the driver: what that one leaves behind is its own affair.
void jump_out(int) {
  std::array<void*, 64> frames;
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  bool in_shim = false;
  for (int i = 0; i < count; ++i) {
    const void* frame = frames[static_cast<std::size_t>(i)];
    if (driver.contains(frame)) return;
    in_shim = in_shim || shim.contains(frame);
  }
  if (!in_shim || !may_jump) return;
  ++jumps;
  ::siglongjmp(way_out, 1);
}

constexpr std::size_t small = 1000, medium = 3 * granule;

// What a jump has left is put away first, as only the program can: it might be freed twice then, so errors are let be.
void use_memory() {
  static CUdeviceptr at = 0;
  for (const std::size_t bytes : {small, medium}) {
    if (at) (void)cuMemFree_v2(at);
    at = 0;
    std::size_t free = 0, total = 0;
    int ordinal = 0;
    if (cuMemAlloc_v2(&at, bytes) != CUDA_SUCCESS) continue;
    (void)cuMemGetInfo_v2(&free, &total);
    (void)cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, at);
    (void)cuMemFree_v2(at);
  }
}

void use_own_memory() {
  static CUdeviceptr at = 0;
  static CUmemGenericAllocationHandle handle = 0;
  if (!at && cuMemAddressReserve(&at, granule, 0, 0, 0) != CUDA_SUCCESS) return;
  CUmemAllocationProp properties{};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  (void)cuMemUnmap(at, granule);
  if (handle) (void)cuMemRelease(handle);
  if (cuMemCreate(&handle, granule, &properties, 0) != CUDA_SUCCESS) return;
  (void)cuMemMap(at, granule, 0, handle, 0);
  (void)cuMemUnmap(at, granule);
  if (cuMemRelease(handle) == CUDA_SUCCESS) handle = 0;
}

// A capture that nobody ends would rightly put every drain off.
void use_streams() {
  static CUstream stream = nullptr;
  static CUevent event = nullptr;
  for (int i = 0; i < 2; ++i) {
    CUgraph graph = nullptr;
    if (stream && cuStreamEndCapture(stream, &graph) == CUDA_SUCCESS) (void)cuGraphDestroy(graph);
    if (stream && cuStreamDestroy_v2(stream) == CUDA_SUCCESS) stream = nullptr;
    if (event && cuEventDestroy_v2(event) == CUDA_SUCCESS) event = nullptr;
    if (i || stream || event) return;
    (void)cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    (void)cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED);
    (void)cuEventCreate(&event, CU_EVENT_DEFAULT);
  }
}

void use_contexts() {
  static CUcontext one = nullptr;
  if (!one) (void)cuCtxCreate_v2(&one, 0, 0);
  if (cuCtxDestroy_v2(one) == CUDA_SUCCESS) one = nullptr;
}

// A thread that uses the driver in every way that takes a lock, and begins anew wherever it has jumped to.
void victim(const std::atomic<bool>& stop) {
  volatile unsigned round = 0;
  (void)::sigsetjmp(way_out, 1);
  while (!stop) {
    OK(cuCtxSetCurrent(context()));
    may_jump = true;
    switch (round = round + 1, round % 4) {
      case 0: use_memory(); break;
      case 1: use_own_memory(); break;
      case 2: use_streams(); break;
      default: use_contexts();
    }
    may_jump = false;
  }
  may_jump = false;
  use_streams();
  use_contexts();
}

}  // namespace

TEST_CASE("handlers that jump out of the shim at any instruction leave no lock held and nothing half done") {
  (void)context();
  std::array<void*, 4> frames;
  (void)::backtrace(frames.data(), 4);  // the first one loads a library
  (void)::dl_iterate_phdr(find_object, nullptr);
  demand(shim.from && driver.from, "the libraries are known");
  struct sigaction action {
  }, before{};
  action.sa_handler = jump_out;
  demand(::sigaction(SIGUSR2, &action, &before) == 0, "a handler can be installed");
  broker().give_backing(256 * mib);
  CUdeviceptr kept = 0;
  OK(cuMemAlloc_v2(&kept, 8 * mib));
  fill(kept, 8 * mib, 11);

  std::atomic<bool> stop{false};
  std::thread thread([&] { victim(stop); });
  random::Dice dice(7);
  constexpr unsigned enough = 800;  // a lock is held for a small part of the time
  const auto latest = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  while (jumps < enough && std::chrono::steady_clock::now() < latest) {
    (void)::pthread_kill(thread.native_handle(), SIGUSR2);
    for (std::uint64_t i = dice.below(40'000); i > 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  stop = true;
  std::atomic<bool> ended{false};
  std::thread end([&] { thread.join(), ended = true; });
  demand(comes_true([&] { return ended.load(); }), "the thread goes on after every jump");
  end.join();
  (void)::sigaction(SIGUSR2, &before, nullptr);
  demand(jumps >= enough / 10, "handlers have jumped out of the shim");

  std::thread([&] {  // nobody's lock is held
    OK(cuCtxSetCurrent(context()));
    use_memory();
    use_own_memory();
    use_streams();
    use_contexts();
    stop = false;
  })
      .detach();
  demand(comes_true([&] { return !stop; }), "after the jumps other threads allocate, free and make streams as before");
  demand(broker().evict_to(0), "the memory leaves after handlers have jumped out of the shim");
  demand(broker().restore(), "the memory comes back");
  demand(intact(kept, 8 * mib, 11), "its content is the same");
  OK(cuMemFree_v2(kept));
}

}  // namespace lull::hazards
