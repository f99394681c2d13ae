#include "shim/leaving.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include "shim/clock.h"
#include "shim/gil.h"
#include "shim/signals.h"

// Weak: only glibc has them all. By these names, because they take the library along that the handler is in.
extern "C" {
[[gnu::weak]] int __cxa_thread_atexit_impl(void (*)(void*), void*, void*);
[[gnu::weak]] int __cxa_atexit(void (*)(void*), void*, void*);
[[gnu::weak]] int __cxa_at_quick_exit(void (*)(void*), void*);
[[gnu::visibility("hidden")]] extern void* __dso_handle;
}

namespace lull::leaving {
namespace {

constexpr std::uint64_t patience_ns = 1'000'000'000;

std::atomic<bool> program_leaves{false};
__thread bool thread_leaves = false;
__thread std::uint64_t patient_until_ns = 0;

void program_ends(void*) { program_leaves.store(true, std::memory_order_release); }
void thread_ends(void*) { thread_leaves = true; }

// glibc ends the program when it has no memory for a thread's destructor.
bool memory_left() {
  void* some = std::malloc(64);
  std::free(some);
  return some != nullptr;
}

}  // namespace

void watch_program() {
  const SignalsBlocked together;
  if (&__cxa_atexit) (void)__cxa_atexit(program_ends, nullptr, &__dso_handle);  // refused: not known to be leaving
  if (&__cxa_at_quick_exit) (void)__cxa_at_quick_exit(program_ends, &__dso_handle);
}

void watch_thread() {
  const SignalsBlocked together;
  if (&__cxa_thread_atexit_impl && memory_left()) (void)__cxa_thread_atexit_impl(thread_ends, nullptr, &__dso_handle);
}

bool now() { return thread_leaves || program_leaves.load(std::memory_order_acquire) || interpreter_finalizes(); }

bool patient() {
  if (!patient_until_ns) patient_until_ns = monotonic_ns() + patience_ns;
  return monotonic_ns() < patient_until_ns;
}

}  // namespace lull::leaving
