// shim/make.h: objects on the host's heap, without the C++ library.
#pragma once
#include <cstdlib>
#include <new>

namespace lull {

template <class T>
T* make() {  // null: the host is out of memory
  void* memory = std::calloc(1, sizeof(T));
  return memory ? ::new (memory) T{} : nullptr;
}

template <class T>
void destroy(T* object) {
  std::free(object);
}

}  // namespace lull
