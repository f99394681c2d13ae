// Atomic accesses within run_touching_memory, which a fault may leave by a jump.
//
// ThreadSanitizer's own atomics hold a lock of its own while they touch the word, for ever after such a jump. So these
// are left as they are.
#pragma once
#include <cstdint>

namespace lull::sim {

template <class T>
__attribute__((no_sanitize("thread"))) T load_touching(std::uintptr_t at) {
  return __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_ACQUIRE);
}

// Read by whoever polls the word.
template <class T>
__attribute__((no_sanitize("thread"))) void store_touching(std::uintptr_t at, T value) {
  __atomic_store_n(reinterpret_cast<T*>(at), value, __ATOMIC_RELEASE);
}

// Writes what is there, in one piece: other threads may be using it.
template <class T>
__attribute__((no_sanitize("thread"))) void rewrite_touching(std::uintptr_t at) {
  T is = __atomic_load_n(reinterpret_cast<const T*>(at), __ATOMIC_RELAXED);
  (void)__atomic_compare_exchange_n(reinterpret_cast<T*>(at), &is, is, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

}  // namespace lull::sim
