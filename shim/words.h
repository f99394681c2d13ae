// shim/words.h: what the fast path does with its words, as one instruction where the processor has one.
//
// Compilers load an atomic word into a register before they compare it and store it back after they add to it, which
// costs a third of the whole path. On x86-64 every load is an acquire and every store a release; the statements are
// volatile and clobber memory, so the compiler keeps their order, and the order of gate before hold with it.
#pragma once
#include <atomic>
#include <cstdint>

#include "protocol/page.h"

namespace lull::gate::words {

static_assert(static_cast<unsigned>(GateState::closed) & 1);
static_assert(!(static_cast<unsigned>(GateState::open) & 1) && !(static_cast<unsigned>(GateState::unmanaged) & 1));

#if defined(__x86_64__)

[[gnu::always_inline]] inline bool is_zero(const std::atomic<std::uintptr_t>& word) {
  bool yes;
  asm volatile("cmpq $0, %1" : "=@cce"(yes) : "m"(word) : "memory");
  return yes;
}

[[gnu::always_inline]] inline bool is(const std::atomic<std::uint32_t>& word, std::uint32_t value) {
  bool yes;
  asm volatile("cmpl %2, %1" : "=@cce"(yes) : "m"(word), "e"(value) : "memory");
  return yes;
}

[[gnu::always_inline]] inline bool is_odd(const Word& word) {
  bool no;
  asm volatile("testb $1, %1" : "=@ccz"(no) : "m"(word) : "memory");
  return !no;
}

[[gnu::always_inline]] inline void store_stack_pointer(std::atomic<std::uintptr_t>& word) {
  asm volatile("movq %%rsp, %0" : "=m"(word) : : "memory");
}

// For a word with one writer: not locked. False: there was none left, and now it is one below.
[[gnu::always_inline]] inline bool spend_one(std::atomic<std::int64_t>& credit) {
  bool had;
  asm volatile("decq %1" : "=@ccns"(had), "+m"(credit));
  return had;
}

#else

inline bool is_zero(const std::atomic<std::uintptr_t>& word) { return word.load(std::memory_order_relaxed) == 0; }

inline bool is(const std::atomic<std::uint32_t>& word, std::uint32_t value) {
  return word.load(std::memory_order_acquire) == value;
}

inline bool is_odd(const Word& word) { return (word.load(std::memory_order_acquire) & 1) != 0; }

inline void store_stack_pointer(std::atomic<std::uintptr_t>& word) {
  std::uintptr_t here;
  asm volatile("mov %0, sp" : "=r"(here));
  word.store(here, std::memory_order_relaxed);
}

inline bool spend_one(std::atomic<std::int64_t>& credit) {  // one writer
  const std::int64_t left = credit.load(std::memory_order_relaxed) - 1;
  credit.store(left, std::memory_order_relaxed);
  return left >= 0;
}

#endif

}  // namespace lull::gate::words
