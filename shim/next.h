// shim/next.h: a libc function that we export too, as the next library behind us defines it.
//
// dlvsym(RTLD_NEXT, …) would find it, were dlvsym not one of the functions we hide. So we read the symbol tables of the
// loaded objects, in the loader's own order, beginning behind ourselves: another preloaded library keeps its place.
#pragma once

namespace lull {

void* next_function(const char* name);  // null: nobody behind us defines it (yet)
void* any_function(const char* name);   // of whatever library; unlike dlsym, a failure is not told to dlerror()

}  // namespace lull
