// Compiled twice: an interposer (twin 1, loaded first) and the library it wraps (twin 2).
#include <dlfcn.h>

#include "tests/interpose/libraries/libraries.h"

extern "C" {

int lull_twin() { return LULL_TWIN; }
int cuTwinOfTests() { return LULL_TWIN; }

#if LULL_TWIN == 1
int lull_ask_next_twin() {
  auto* next = reinterpret_cast<int (*)()>(::dlsym(RTLD_NEXT, "lull_twin"));
  return next ? next() : -1;
}

int lull_ask_next_driver_like_twin() {
  auto* next = reinterpret_cast<int (*)()>(::dlsym(RTLD_NEXT, "cuTwinOfTests"));
  return next ? next() : -1;
}
#else
int lull_second_twin() { return LULL_TWIN; }
#endif
}
