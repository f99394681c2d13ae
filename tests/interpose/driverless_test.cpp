// A machine, or a process, without any driver: the shim is there all the same, and must not pretend.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstring>

TEST_CASE("without a driver, opening it fails as ever and the exported functions answer not found") {
  if (void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY)) {
    (void)::dlclose(driver);
    MESSAGE("skipped: this machine has a driver");
    return;
  }
  const char* error = ::dlerror();
  REQUIRE(error != nullptr);
  CHECK(std::strstr(error, "libcuda.so.1") != nullptr);
  constexpr int not_found = 500;
  for (const char* symbol : {"cuInit", "cuDriverGetVersion", "cuLaunchKernel", "cuGetProcAddress_v2"}) {
    void* address = ::dlsym(RTLD_DEFAULT, symbol);
    REQUIRE_MESSAGE(address != nullptr, symbol);
    auto* function = reinterpret_cast<int (*)(...)>(address);
    void* place = nullptr;
    CHECK_MESSAGE(function("cuInit", &place, 13000, 0, nullptr, 0, 0, 0, 0, 0, 0) == not_found, symbol);
    CHECK_MESSAGE(::dlerror() == nullptr, symbol);
  }
}
