// tests/broker/counted_new.h: counts allocations, so that a test can say there were none. Include it in one file of an
// executable: it replaces operator new for all of it.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <new>

namespace counted_new {
inline std::size_t count = 0;
}

void* operator new(std::size_t bytes) {
  ++counted_new::count;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
