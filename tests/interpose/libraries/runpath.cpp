#include <dlfcn.h>

#include "tests/interpose/libraries/libraries.h"

int lull_open_by_runpath() {
  void* library = ::dlopen("liblull_test_private.so", RTLD_NOW);
  if (!library) return -1;
  auto* answer = reinterpret_cast<int (*)()>(::dlsym(library, "lull_private_answer"));
  const int result = answer ? answer() : -2;
  (void)::dlclose(library);
  return result;
}
