#include <dlfcn.h>
#include <unistd.h>

#include <cstring>

#include "tests/driver/testing/test_support.h"

using namespace lull::sim::test;

namespace {

struct Process {
  unsigned pid;
  unsigned long long bytes;
  unsigned instance, compute_instance;
};
struct Memory {
  unsigned long long total, free, used;
};

template <class F>
F* nvml(const char* name) {
  static void* library = ::dlopen(LULL_SIM_NVML, RTLD_NOW);
  REQUIRE(library);
  void* found = ::dlsym(library, name);
  REQUIRE_MESSAGE(found, name);
  return reinterpret_cast<F*>(found);
}

}  // namespace

TEST_CASE("NVML sees the card, its memory and who uses it, from the same file") {
  const TestContext context;
  Child child("hold");
  REQUIRE_EQ(child.line(), "holding");
  void* device = nullptr;
  unsigned count = 0;
  REQUIRE_EQ(nvml<int()>("nvmlInit_v2")(), 0);
  REQUIRE_EQ(nvml<int(unsigned*)>("nvmlDeviceGetCount_v2")(&count), 0);
  CHECK_EQ(count, 1);
  REQUIRE_EQ(nvml<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")(0, &device), 0);
  CHECK_EQ(nvml<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")(7, &device), 2);

  Memory memory{};
  REQUIRE_EQ(nvml<int(void*, Memory*)>("nvmlDeviceGetMemoryInfo")(device, &memory), 0);
  CHECK_EQ(memory.total, card_bytes);
  CHECK_EQ(memory.free, free_bytes());
  CHECK_EQ(memory.used, 2 * context_bytes + 40 * MiB);

  Process processes[8];
  unsigned room = 8;
  REQUIRE_EQ(nvml<int(void*, unsigned*, Process*)>("nvmlDeviceGetComputeRunningProcesses_v3")(device, &room, processes),
             0);
  REQUIRE_EQ(room, 2);
  bool seen = false;
  for (unsigned i = 0; i < room; ++i) {
    if (processes[i].pid != static_cast<unsigned>(child.pid)) continue;
    seen = true;
    CHECK_EQ(processes[i].bytes, context_bytes + 40 * MiB);
  }
  CHECK(seen);
  REQUIRE_EQ(nvml<int()>("nvmlShutdown")(), 0);
}

TEST_CASE("NVML and the driver tell the same UUID, and NVML finds the card by it") {
  CUuuid id{};
  OK(cuDeviceGetUuid_v2(&id, 0));
  char text[80] = "", begin[16];
  void *device = nullptr, *by_uuid = nullptr;
  REQUIRE_EQ(nvml<int()>("nvmlInit_v2")(), 0);
  REQUIRE_EQ(nvml<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")(0, &device), 0);
  REQUIRE_EQ(nvml<int(void*, char*, unsigned)>("nvmlDeviceGetUUID")(device, text, sizeof text), 0);
  std::snprintf(begin, sizeof begin, "GPU-%02x%02x", static_cast<unsigned char>(id.bytes[0]),
                static_cast<unsigned char>(id.bytes[1]));
  CHECK_EQ(std::strncmp(text, begin, 8), 0);
  CHECK_EQ(std::strlen(text), 40);
  CHECK_EQ(nvml<int(const char*, void**)>("nvmlDeviceGetHandleByUUID")(text, &by_uuid), 0);
  CHECK_EQ(by_uuid, device);
  CHECK_EQ(nvml<int(void*, char*, unsigned)>("nvmlDeviceGetUUID")(device, text, 5), 7);
  REQUIRE_EQ(nvml<int()>("nvmlShutdown")(), 0);
}

namespace {

// In use for one test.
struct InUse {
  InUse() { REQUIRE_EQ(nvml<int()>("nvmlInit_v2")(), 0); }
  ~InUse() { (void)nvml<int()>("nvmlShutdown")(); }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;
  void* gpu() const {
    void* device = nullptr;
    REQUIRE_EQ(nvml<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")(0, &device), 0);
    return device;
  }
};

}  // namespace

TEST_CASE("NVML answers that it is not initialised before nvmlInit and after the last nvmlShutdown") {
  unsigned count = 0;
  char text[96] = "";
  CHECK_EQ(nvml<int(unsigned*)>("nvmlDeviceGetCount_v2")(&count), 1);
  CHECK_EQ(nvml<int()>("nvmlShutdown")(), 1);
  CHECK_EQ(nvml<int(void*)>("nvmlDeviceGetTemperature")(nullptr), 1);
  {
    const InUse first;
    const InUse second;
  }
  CHECK_EQ(nvml<int(char*, unsigned)>("nvmlSystemGetDriverVersion")(text, sizeof text), 1);
}

TEST_CASE("NVML tells versions that say they are simulated, and an error string for every code") {
  const InUse library;
  char text[96] = "";
  int version = 0, driver = 0;
  REQUIRE_EQ(nvml<int(char*, unsigned)>("nvmlSystemGetDriverVersion")(text, sizeof text), 0);
  CHECK(std::strstr(text, "simulated"));
  CHECK_EQ(nvml<int(char*, unsigned)>("nvmlSystemGetNVMLVersion")(text, 3), 7);
  REQUIRE_EQ(nvml<int(int*)>("nvmlSystemGetCudaDriverVersion_v2")(&version), 0);
  OK(cuDriverGetVersion(&driver));
  CHECK_EQ(version, driver);
  for (const int code : {0, 1, 2, 3, 6, 7, 25, 999, 12345}) {
    CHECK_GT(std::strlen(nvml<const char*(int)>("nvmlErrorString")(code)), 3);
  }
}

TEST_CASE("NVML finds a card by its place on the bus, which the driver tells too") {
  const InUse library;
  char id[32] = "";
  void* found = nullptr;
  OK(cuDeviceGetPCIBusId(id, sizeof id, 0));
  const auto by_id = nvml<int(const char*, void**)>("nvmlDeviceGetHandleByPciBusId_v2");
  CHECK_EQ(by_id(id, &found), 0);
  CHECK_EQ(found, library.gpu());
  CHECK_EQ(by_id("00000000:51:00.0", &found), 0);
  CHECK_EQ(by_id("51:00.0", &found), 0);
  CHECK_EQ(by_id("0000:52:00.0", &found), 6);
  CHECK_EQ(by_id("somewhere", &found), 6);
  CHECK_EQ(by_id(nullptr, &found), 2);
}

TEST_CASE("NVML's process list says how much room it needs when there is too little") {
  const TestContext context;
  const InUse library;
  const auto list = nvml<int(void*, unsigned*, Process*)>("nvmlDeviceGetComputeRunningProcesses_v3");
  unsigned count = 0;
  CHECK_EQ(list(library.gpu(), &count, nullptr), 7);
  CHECK_EQ(count, 1);
  Process own{};
  CHECK_EQ(list(library.gpu(), &count, &own), 0);
  CHECK_EQ(own.pid, static_cast<unsigned>(::getpid()));
  CHECK_EQ(list(library.gpu(), nullptr, nullptr), 2);
  count = 4;
  CHECK_EQ(nvml<int(void*, unsigned*, void*)>("nvmlDeviceGetGraphicsRunningProcesses_v3")(library.gpu(), &count, &own),
           0);
  CHECK_EQ(count, 0);
}

TEST_CASE("NVML refuses a memory structure of another version") {
  const InUse library;
  struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
  } memory{static_cast<unsigned>(sizeof memory) | 2u << 24, 0, 9, 0, 0};
  const auto ask = nvml<int(void*, void*)>("nvmlDeviceGetMemoryInfo_v2");
  REQUIRE_EQ(ask(library.gpu(), &memory), 0);
  CHECK_EQ(memory.total, card_bytes);
  CHECK_EQ(memory.reserved + memory.free + memory.used, memory.total);
  memory.version = 1;
  CHECK_EQ(ask(library.gpu(), &memory), 25);
  CHECK_EQ(ask(&memory, &memory), 25);
}

TEST_CASE("NVML tells the link of the card's profile, its capability, and that it has no sensors") {
  const InUse library;
  unsigned number = 0;
  int major = 0, minor = 0;
  const auto ask = [&](const char* name) { return nvml<int(void*, unsigned*)>(name)(library.gpu(), &number); };
  CHECK_EQ(ask("nvmlDeviceGetCurrPcieLinkGeneration"), 0);
  CHECK_EQ(number, 3);
  CHECK_EQ(ask("nvmlDeviceGetMaxPcieLinkWidth"), 0);
  CHECK_EQ(number, 1);
  CHECK_EQ(ask("nvmlDeviceGetComputeMode"), 0);
  CHECK_EQ(number, 0);
  CHECK_EQ(nvml<int(void*, int*, int*)>("nvmlDeviceGetCudaComputeCapability")(library.gpu(), &major, &minor), 0);
  CHECK_EQ(major * 10 + minor, 75);
  for (const char* name : {"nvmlDeviceGetTemperature", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetMigMode"})
    CHECK_EQ(ask(name), 3);
}

TEST_CASE("NVML's utilisation is of the engines: a kernel that runs all the time is busy, an idle card is not") {
  const TestContext context;
  const InUse library;
  struct {
    unsigned gpu, memory;
  } rates{};
  const auto ask = nvml<int(void*, void*)>("nvmlDeviceGetUtilizationRates");
  CUdeviceptr flag = 0;
  CUstream other = nullptr;
  OK(cuMemAlloc_v2(&flag, 4));
  OK(cuMemsetD32_v2(flag, 0, 1));
  OK(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
  OK(launch(kernel("spin"), 1, nullptr, {&flag}));
  CHECK(eventually([&] { return ask(library.gpu(), &rates) == 0 && rates.gpu >= 90; }));
  OK(cuMemsetD32Async(flag, 1, 1, other));
  OK(cuCtxSynchronize());
  CHECK(eventually([&] { return ask(library.gpu(), &rates) == 0 && rates.gpu == 0 && rates.memory == 0; }));
}
