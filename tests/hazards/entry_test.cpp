// The routes by which NVIDIA's runtime and cuBLAS enter the driver, call by call, in a program that has no library of
// NVIDIA's: what the shim has counted at the end must be what the driver has counted.
//
// usage: entry NAME COUNT    NAME: what to open; COUNT: shim (a broker of ours reads the shim's page) or driver (no
// shim)
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/journal/journal.h"
#include "tests/shim/fake_broker.h"

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace {

using namespace lull;

constexpr std::size_t mib = 1 << 20;
std::string card, journal;
FakeBroker* broker = nullptr;

void clean_up() {
  if (broker) broker->leave();
  (void)::unlink(card.c_str());
  (void)::unlink(journal.c_str());
}

void demand(bool holds, const char* sentence) {
  if (holds) return;
  std::fprintf(stderr, "DEMAND: %s\n", sentence);
  clean_up();
  ::_exit(3);
}

struct Row {
  const char* symbol;
  const char* name;
  int since;
  bool per_thread;
};
const Row rows[] = {
#define HOOK(symbol, name, since, stream, ...) {#symbol, #name, since, sizeof #stream > 1},
#include "shim/hooks.def"
#undef HOOK
};

// What the runtime asks for: every name at its newest revision, older revisions of those whose arguments have changed,
// and for functions of streams the per-thread twin right after the plain one.
struct Request {
  const char* name;
  int version;
  cuuint64_t flags;
  bool required = true;
};
std::vector<Request> requests() {
  std::vector<Request> all{{"", 0, 0, false}};  // a probe, whose error is tolerated
  for (const Row& row : rows) all.push_back({row.name, row.since, row.per_thread ? 2ull : 0ull});
  for (const char* absent : {"cuGLGetDevices", "cuEGLStreamConsumerConnect", "cuVDPAUGetDevice"})
    all.push_back({absent, 13000, 0, false});  // of other headers; a driver may not have them
  return all;
}

// The driver as the runtime sees it: one dlsym, the rest by look-ups.
class Driver {
 public:
  explicit Driver(const char* file) {
    handle_ = ::dlopen(file, RTLD_NOW);
    demand(handle_ != nullptr, "the driver can be opened");
    lookup_ = reinterpret_cast<decltype(lookup_)>(::dlsym(handle_, "cuGetProcAddress_v2"));
    demand(lookup_ != nullptr, "cuGetProcAddress_v2 is found by dlsym");
  }

  std::size_t ask_for_everything() const {
    std::size_t found = 0;
    for (const Request& request : requests()) {
      void* function = nullptr;
      CUdriverProcAddressQueryResult status{};
      const CUresult result = lookup_(request.name, &function, request.version, request.flags, &status);
      found += request.required && result == CUDA_SUCCESS && function;
    }
    return found;
  }
  template <class F>
  F* get(const char* name, F*, cuuint64_t flags = 0, int version = 13000) const {
    void* function = nullptr;
    demand(lookup_(name, &function, version, flags, nullptr) == CUDA_SUCCESS && function, name);
    return reinterpret_cast<F*>(function);
  }
  template <class F>
  F* symbol(const char* name, F*) const {  // as cuBLAS does
    void* function = ::dlsym(handle_, name);
    demand(function != nullptr, name);
    return reinterpret_cast<F*>(function);
  }

 private:
  void* handle_;
  CUresult (*lookup_)(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);
};
#define GET(name) driver.get(#name, static_cast<decltype(&::name)>(nullptr))
#define SYMBOL(name) driver.symbol(#name, static_cast<decltype(&::name)>(nullptr))
#define OK(call) demand((call) == CUDA_SUCCESS, #call " succeeds")

constexpr char add_one[] = R"(
.version 6.3
.target sm_75
.address_size 64
.visible .entry add_one(.param .u64 words)
{
  .reg .b32 %r<3>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [words];
  mov.u32 %r1, %tid.x;
  mul.wide.u32 %rd2, %r1, 4;
  add.s64 %rd3, %rd1, %rd2;
  ld.global.u32 %r2, [%rd3];
  add.s32 %r2, %r2, 1;
  st.global.u32 [%rd3], %r2;
  ret;
}
)";

// What the program did by itself.
struct Done {
  std::uint64_t launches = 0, other_submissions = 0, allocations = 0;
} done;

const Driver* the_driver = nullptr;
CUlibrary library = nullptr;

// As the runtime ends: from an exit handler, when statics of opened libraries may be gone.
void end() {
  const Driver& driver = *the_driver;
  OK(driver.get("cuLibraryUnload", static_cast<decltype(&::cuLibraryUnload)>(nullptr))(library));
  OK(driver.get("cuDevicePrimaryCtxRelease", static_cast<decltype(&::cuDevicePrimaryCtxRelease_v2)>(nullptr))(0));
  clean_up();
  std::fflush(nullptr);
  ::_exit(0);
}

void begin(const Driver& driver) {
  int version = 0, count = 0, value = 0;
  std::size_t total = 0;
  CUmoduleLoadingMode mode{};
  CUdevice device = 0;
  CUuuid uuid{};
  char name[64] = "";
  OK(GET(cuDriverGetVersion)(&version));
  OK(GET(cuInit)(0));
  OK(GET(cuModuleGetLoadingMode)(&mode));
  OK(GET(cuDeviceGetCount)(&count));
  OK(GET(cuDeviceGet)(&device, 0));
  OK(GET(cuDeviceGetName)(name, sizeof name, device));
  OK(driver.get("cuDeviceTotalMem", static_cast<decltype(&::cuDeviceTotalMem_v2)>(nullptr))(&total, device));
  OK(driver.get("cuDeviceGetUuid", static_cast<decltype(&::cuDeviceGetUuid_v2)>(nullptr))(&uuid, device));
  const auto attribute = GET(cuDeviceGetAttribute);
  for (int i = 1; i <= 111; ++i) (void)attribute(&value, static_cast<CUdevice_attribute>(i), device);
  CUcontext context = nullptr;
  OK(GET(cuCtxGetCurrent)(&context));
  OK(GET(cuDevicePrimaryCtxRetain)(&context, device));
  OK(GET(cuCtxSetCurrent)(context));
  std::size_t free = 0, total_later = 0;
  OK(driver.get("cuMemGetInfo", static_cast<decltype(&::cuMemGetInfo_v2)>(nullptr))(&free, &total_later));
  demand(total == total_later, "the total is the same before any context and with one");
}

void check(CUdeviceptr words, unsigned expected, decltype(&::cuMemcpyDtoH_v2) copy) {
  unsigned now[32];
  OK(copy(now, words, sizeof now));
  ++done.other_submissions;
  demand(std::all_of(std::begin(now), std::end(now), [&](unsigned word) { return word == expected; }),
         "every launch has run");
}

// The first <<<>>> of a module: loaded lazily, the CUkernel itself given to the launch, plain and on the thread's
// stream.
void run_as_the_runtime(const Driver& driver, CUdeviceptr words) {
  CUlibraryOption preserved = CU_LIBRARY_BINARY_IS_PRESERVED;
  int yes = 1;
  void* values[] = {&yes};
  CUkernel kernel = nullptr;
  OK(GET(cuLibraryLoadData)(&library, add_one, nullptr, nullptr, 0, &preserved, values, 1));
  OK(GET(cuLibraryGetKernel)(&kernel, library, "add_one"));
  void* parameters[] = {&words};
  const auto launch = GET(cuLaunchKernel);
  const auto launch_on_thread = driver.get("cuLaunchKernel", static_cast<decltype(&::cuLaunchKernel)>(nullptr), 2);
  const auto launch_ex = GET(cuLaunchKernelEx);
  CUlaunchConfig config{};
  config.gridDimX = config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
  config.blockDimX = 32;
  const auto function = reinterpret_cast<CUfunction>(kernel);
  for (unsigned i = 0; i < 10; ++i) {
    OK(launch(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
    OK(launch_on_thread(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
    OK(launch_ex(&config, function, parameters, nullptr));
    done.launches += 3;
  }
}

// cuBLAS: every name by dlsym.
void run_as_cublas(const Driver& driver, CUdeviceptr words) {
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  OK(SYMBOL(cuModuleLoadData)(&module, add_one));
  OK(SYMBOL(cuModuleGetFunction)(&function, module, "add_one"));
  void* parameters[] = {&words};
  for (unsigned i = 0; i < 5; ++i) {
    OK(SYMBOL(cuLaunchKernel)(function, 1, 1, 1, 32, 1, 1, 0, nullptr, parameters, nullptr));
    ++done.launches;
  }
  OK(SYMBOL(cuCtxSynchronize)());
  OK(SYMBOL(cuModuleUnload)(module));
}

std::uint64_t journal_calls(std::string_view prefix, bool successful = true) {
  std::uint64_t count = 0;
  for (const sim::Record& record : sim::read_journal(journal))
    count += record.kind == sim::Kind::call && record.pid == static_cast<unsigned>(::getpid()) &&
             sim::function_name(record.function).starts_with(prefix) && (!successful || record.result == CUDA_SUCCESS);
  return count;
}

std::uint64_t journal_kernels() {
  const auto records = sim::read_journal(journal);
  return static_cast<std::uint64_t>(std::count_if(records.begin(), records.end(), [](const sim::Record& record) {
    return record.kind == sim::Kind::kernel && record.pid == static_cast<unsigned>(::getpid());
  }));
}

// The driver's counts, the shim's and the program's own.
void compare(std::uint64_t bytes_held) {
  demand(journal_calls("cuLaunchKernel") == done.launches, "the driver has seen every launch");
  demand(journal_kernels() == done.launches, "the card has run every launch");
  if (!broker) {
    demand(journal_calls("cuMemAlloc") == done.allocations, "the driver has seen every allocation");
    return;
  }
  demand(comes_true([] { return broker->up().submissions.load() == done.launches + done.other_submissions; }),
         "the shim has counted every submission that the driver has seen, and no more");
  demand(broker->up().needed.load() == bytes_held, "the shim has counted every allocation");
  demand(journal_calls("cuMemAlloc") == 0, "no allocation has gone past the shim");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  card = "/dev/shm/lull-entry-" + std::to_string(::getpid());
  journal = card + ".journal";
  (void)::setenv("LULL_SIM_POOL", card.c_str(), 1);
  (void)::setenv("LULL_SIM_JOURNAL", journal.c_str(), 1);
  if (std::strcmp(argv[2], "shim") == 0) broker = new FakeBroker;
  static const Driver driver(argv[1]);
  the_driver = &driver;
  demand(driver.ask_for_everything() == std::size(rows), "every function of the headers is found, at its revision");
  begin(driver);
  if (broker) demand(comes_true([] { return broker->attached(); }), "the process is managed");
  CUdeviceptr words = 0, large = 0;
  const auto allocate = driver.get("cuMemAlloc", static_cast<decltype(&::cuMemAlloc_v2)>(nullptr));
  OK(allocate(&large, 20 * mib));
  OK(SYMBOL(cuMemAlloc_v2)(&words, 20 * mib));
  done.allocations += 2;
  OK(driver.get("cuMemsetD8", static_cast<decltype(&::cuMemsetD8_v2)>(nullptr))(words, 0, 4096));
  ++done.other_submissions;
  run_as_the_runtime(driver, words);
  OK(driver.get("cuCtxSynchronize", static_cast<CUresult (*)()>(nullptr), 0, 12000)());
  check(words, 30, driver.get("cuMemcpyDtoH", static_cast<decltype(&::cuMemcpyDtoH_v2)>(nullptr)));
  run_as_cublas(driver, words);
  check(words, 35, SYMBOL(cuMemcpyDtoH_v2));
  compare(40 * mib);
  (void)std::atexit(end);
  return 1;  // the handler ends with 0
}
