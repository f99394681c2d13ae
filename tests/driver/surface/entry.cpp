#include "tests/driver/surface/entry.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

#include "tests/driver/context/context.h"
#include "tests/driver/faults/faults.h"
#include "tests/driver/journal/journal_write.h"
#include "tests/driver/surface/cost.h"

namespace lull::sim {
namespace {

// A word that the kernel clears in a forked child, beside one that says there once was a driver: a child is where
// only the second is set. pthread_atfork would not see raw clone.
std::atomic<std::atomic<std::uint32_t>*> wiped_at_fork{nullptr};
std::atomic<bool> process_ends{false};
thread_local constinit bool per_thread_default = false;
thread_local constinit bool in_callback = false;
thread_local constinit std::uint16_t inside = 0xffff;

CUresult refusal_of(std::uint16_t function, When when) {
  if (when == When::any_time) return fault_at_call(function);
  if (process_ends.load(std::memory_order_relaxed)) return CUDA_ERROR_DEINITIALIZED;
  if (!initialised()) return CUDA_ERROR_NOT_INITIALIZED;
  if (in_callback) return CUDA_ERROR_NOT_PERMITTED;
  return fault_at_call(function);
}

// After this, other libraries' destructors may still call: they are told that the driver has gone.
__attribute__((destructor)) void begin_end() { process_ends.store(true, std::memory_order_relaxed); }

}  // namespace

bool initialised() {
  const auto* word = wiped_at_fork.load(std::memory_order_acquire);  // pairs with become_initialised
  return word && word->load(std::memory_order_relaxed) != 0;
}

CUresult become_initialised(CUresult (*start)()) {
  static std::mutex& mutex = *new std::mutex;
  if (wiped_at_fork.load(std::memory_order_acquire)) {
    return initialised() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;  // the latter: a forked child
  }
  const std::scoped_lock lock(mutex);
  if (wiped_at_fork.load(std::memory_order_acquire)) return CUDA_SUCCESS;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* at = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED || ::madvise(at, page, MADV_WIPEONFORK) != 0) return CUDA_ERROR_OPERATING_SYSTEM;
  if (const CUresult failed = start()) {
    (void)::munmap(at, page);
    return failed;
  }
  auto* word = new (at) std::atomic<std::uint32_t>(1);
  wiped_at_fork.store(word, std::memory_order_release);
  return CUDA_SUCCESS;
}

void enter_callback(bool now) { in_callback = now; }

CUresult context_error() { return current_context().error; }
CUresult device_error(CUdevice device) { return device_of(device) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE; }
CUresult stream_error(CUstream stream) { return find_stream(stream).error; }

PerThreadDefault::PerThreadDefault() : outer_(per_thread_default) { per_thread_default = true; }
PerThreadDefault::~PerThreadDefault() { per_thread_default = outer_; }
bool PerThreadDefault::active() { return per_thread_default; }

Call::Call(std::uint16_t function, When when)
    : function_(function),
      start_ns_(initialised() && (journal_on() || has_cost(function)) ? now_ns() : 0),
      refusal_(refusal_of(function, when)) {
  inside = function;
}

std::uint16_t current_function() { return inside; }

CUresult Call::end(CUresult result, std::uint64_t address, std::uint64_t bytes) {
  inside = 0xffff;
  std::uint64_t end_ns = 0;
  if (result == CUDA_SUCCESS && start_ns_ != 0 && has_cost(function_)) end_ns = spend_cost(function_, bytes, start_ns_);
  // The first cuInit is the only initialised call that has no start.
  if (initialised() && journal_on()) {
    const std::uint64_t now = now_ns();
    journal_write({.start_ns = start_ns_ ? start_ns_ : now,
                   .end_ns = end_ns ? end_ns : now,
                   .pid = 0,
                   .tid = 0,
                   .kind = Kind::call,
                   .function = function_,
                   .result = result,
                   .address = address,
                   .bytes = bytes,
                   .written_ns = 0,
                   .device = 0,
                   .stream = 0});
  }
  return result;
}

}  // namespace lull::sim
