// The card as the administrator sees it, by NVML.
#include <dlfcn.h>

#include "tests/residency/support.h"

namespace lull::residency_test {
namespace {

struct Bytes {
  unsigned long long total, free, used;
};

template <class F>
F* nvml(const char* name) {
  static void* const library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW);
  REQUIRE(library != nullptr);
  void* function = ::dlsym(library, name);
  REQUIRE(function != nullptr);
  return reinterpret_cast<F*>(function);
}

void* card() {
  static void* const handle = [] {
    void* found = nullptr;
    REQUIRE_EQ(nvml<int()>("nvmlInit_v2")(), 0);
    REQUIRE_EQ((nvml<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2")(0, &found)), 0);
    return found;
  }();
  return handle;
}

Bytes bytes() {
  Bytes now{};
  REQUIRE_EQ((nvml<int(void*, Bytes*)>("nvmlDeviceGetMemoryInfo")(card(), &now)), 0);
  return now;
}

}  // namespace

std::size_t free_on_card() { return bytes().free; }
std::size_t total_of_card() { return bytes().total; }

std::string uuid_of_card() {
  char text[96] = "";
  REQUIRE_EQ((nvml<int(void*, char*, unsigned)>("nvmlDeviceGetUUID")(card(), text, sizeof text)), 0);
  return text;
}

}  // namespace lull::residency_test
