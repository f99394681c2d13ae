#include <dlfcn.h>

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
