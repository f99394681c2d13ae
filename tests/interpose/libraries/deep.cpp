#include <cuda.h>
#include <dlfcn.h>

#include "tests/interpose/libraries/libraries.h"

void* lull_deep_dlsym(const char* symbol) {
  void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY);
  return driver ? ::dlsym(driver, symbol) : nullptr;
}

void* lull_deep_linked_launch() { return reinterpret_cast<void*>(&cuLaunchKernel); }
