// tests/random/silent.h: what a process waits for that says nothing any more.
#pragma once
#include <sys/types.h>

#include <string>

namespace lull::random {

// A line for each thread, and where each is, if there is a debugger that can tell.
std::string where_it_waits(pid_t pid);

}  // namespace lull::random
