// tests/bench/launch_probe.cpp: an ordinary program that submits, with a library preloaded. launch_bench starts it.
//
// usage: launch-probe time|step launch|copy|record [PEER]
//
// It calls the same function two ways: by the name every program uses, which the preloaded library answers, and the
// null driver's own, by another name that no library knows. What differs is the preloaded library: ours, or PEER.
//
//   time    alternates blocks of both, prints the nanoseconds a call of each costs, for every pair of blocks
//   step    makes one call of each between signals; the parent steps through it and counts
#include <cuda.h>
#include <dlfcn.h>
#include <sys/ptrace.h>
#include <time.h>

#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

extern "C" {
decltype(cuLaunchKernel) null_launch;
decltype(cuMemcpyHtoDAsync) null_copy;
decltype(cuEventRecord) null_record;
}

namespace {

constexpr int calls_a_block = 100'000, blocks = 400, steps = 5;

// Not inlined, and through a pointer either way: both ways run the very same loop.
template <class Function, class... Args>
[[gnu::noinline]] bool call_often(Function* function, int times, Args... args) {
  unsigned failed = 0;
  for (int i = 0; i < times; ++i) failed |= static_cast<unsigned>(function(args...));
  return failed == 0;
}

enum Way { through_library, direct };

struct Call {
  virtual ~Call() = default;
  virtual bool often(Way, int times) = 0;
};

class Launch final : public Call {
 public:
  explicit Launch(decltype(&cuLaunchKernel) through) : ways_{through, &null_launch} {}
  bool often(Way way, int times) override {
    return call_often(ways_[way], times, nullptr, 64u, 1u, 1u, 256u, 1u, 1u, 0u, nullptr, parameters_, nullptr);
  }

 private:
  decltype(&cuLaunchKernel) ways_[2];
  void* parameters_[1] = {nullptr};
};

class Copy final : public Call {
 public:
  bool often(Way way, int times) override {
    return call_often(ways_[way], times, CUdeviceptr{4096}, data_, sizeof data_, nullptr);
  }

 private:
  decltype(&cuMemcpyHtoDAsync) ways_[2] = {&cuMemcpyHtoDAsync, &null_copy};
  char data_[64] = {};
};

// Of an event without timing, as nearly all are.
class Record final : public Call {
 public:
  bool ready() { return cuEventCreate(&event_, CU_EVENT_DISABLE_TIMING) == CUDA_SUCCESS; }
  bool often(Way way, int times) override { return call_often(ways_[way], times, event_, nullptr); }

 private:
  decltype(&cuEventRecord) ways_[2] = {&cuEventRecord, &null_record};
  CUevent event_ = nullptr;
};

std::int64_t now_ns() {
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void measure_time(Call& call) {
  for (int i = 0; i < blocks; ++i) {
    const std::int64_t began_ns = now_ns();
    const bool done = call.often(through_library, calls_a_block);
    const std::int64_t between_ns = now_ns();
    if (!call.often(direct, calls_a_block) || !done) std::exit(1);
    const std::int64_t ended_ns = now_ns();
    std::printf("%.4f %.4f\n", static_cast<double>(between_ns - began_ns) / calls_a_block,
                static_cast<double>(ended_ns - between_ns) / calls_a_block);
  }
}

// Not inlined, so that what is counted between the signals differs in nothing but the call.
[[gnu::noinline]] void between_signals(Call& call, Way way) {
  (void)std::raise(SIGTRAP);
  (void)call.often(way, 1);
  (void)std::raise(SIGTRAP);
}

void measure_steps(Call& call) {
  for (int i = 0; i < steps; ++i) {
    between_signals(call, through_library);
    between_signals(call, direct);
  }
}

bool make_context() {
  CUdevice device = 0;
  CUcontext context = nullptr;
  return cuInit(0) == CUDA_SUCCESS && cuDeviceGet(&device, 0) == CUDA_SUCCESS &&
         cuDevicePrimaryCtxRetain(&context, device) == CUDA_SUCCESS && cuCtxSetCurrent(context) == CUDA_SUCCESS;
}

bool lies_in(const void* function, const char* library) {
  Dl_info info{};
  char a[PATH_MAX], b[PATH_MAX];
  return function && ::dladdr(function, &info) != 0 && ::realpath(info.dli_fname, a) && ::realpath(library, b) &&
         std::string_view(a) == b;
}

// The peer's function by the routes it may have taken: as an exported symbol, or as dlsym's answer.
decltype(&cuLaunchKernel) launch_of(const char* peer) {
  if (!::dlopen(peer, RTLD_NOW | RTLD_NOLOAD)) {
    const char* why = ::dlopen(peer, RTLD_NOW) ? "it can be opened, but not preloaded" : ::dlerror();
    std::fprintf(stderr, "launch: the peer's library cannot be loaded: %s\n", why);
    std::exit(3);
  }
  auto* found = reinterpret_cast<void*>(&cuLaunchKernel);
  if (!lies_in(found, peer)) found = ::dlsym(::dlopen("libcuda.so.1", RTLD_NOW), "cuLaunchKernel");
  if (!lies_in(found, peer)) {
    std::fprintf(stderr, "launch: %s answers cuLaunchKernel neither as a symbol nor to dlsym\n", peer);
    std::exit(3);
  }
  return reinterpret_cast<decltype(&cuLaunchKernel)>(found);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string_view mode = argv[1], what = argv[2];
  Launch launch(argc > 3 ? launch_of(argv[3]) : &cuLaunchKernel);
  Copy copy;
  Record record;
  if (!make_context() || !record.ready()) return 1;
  Call& call = what == "copy" ? static_cast<Call&>(copy) : what == "record" ? static_cast<Call&>(record) : launch;
  // First calls resolve names and make this thread's entry. The launches show that the context can be worked in.
  if (!launch.often(through_library, 100) || !call.often(through_library, 100) || !call.often(direct, 100)) return 1;
  if (mode == "step" && ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 2;
  (void)std::getchar();  // the parent has seen us managed, with an open gate
  mode == "step" ? measure_steps(call) : measure_time(call);
  return 0;
}
