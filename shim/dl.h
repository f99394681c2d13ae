// shim/dl.h: the loader's functions behind our own exports of the same names (dl.S). Code of the shim calls these.
//
// The exported dlsym, dlvsym, dlopen and dlmopen ask the functions of dl.cpp whether anything of the driver is
// concerned, and otherwise jump on with the stack as it was: glibc answers by caller, so a wrapper that *called* the
// real function would break RTLD_NEXT and RUNPATH look-ups of every other library.
#pragma once
#include <dlfcn.h>

namespace lull::next {

// Null when no loaded library has them (glibc before 2.34 keeps them in libdl).
void* dlsym(void* handle, const char* name);
void* dlopen(const char* file, int mode);

}  // namespace lull::next
