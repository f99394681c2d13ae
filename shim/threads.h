// shim/threads.h: a detached thread with every signal blocked, so that no handler of the host ever runs on it.
#pragma once
#include <cstddef>

namespace lull::threads {

bool start(const char* name, void* (*run)(void*), std::size_t stack_bytes);

}  // namespace lull::threads
