// A library whose constructor uses the driver before the program, or any other library's constructor after it, could
// prepare anything. What it met is kept for the test to judge.
#include <dlfcn.h>

#include "tests/interpose/libraries/libraries.h"

namespace {
EarlyFindings findings;

[[gnu::constructor]] void find_early() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW);
  findings.launch = ::dlsym(driver, "cuLaunchKernel");
  findings.lookup = ::dlsym(driver, "cuGetProcAddress_v2");
  using Lookup = int(const char*, void**, int, unsigned long long, int*);
  int status = -1;
  findings.looked_up_status =
      reinterpret_cast<Lookup*>(findings.lookup)("cuLaunchKernel", &findings.looked_up_launch, 12000, 0, &status);
}
}  // namespace

EarlyFindings early_findings() { return findings; }
