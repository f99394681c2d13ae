#include "shim/driver.h"

#include <atomic>

#include "shim/dl.h"
#include "shim/observe.h"
#include "shim/real.h"
#include "shim/signals.h"

// Arrays made by exports.S, one entry per row in the order of hooks.def.
#pragma GCC visibility push(hidden)
extern "C" {
extern char lull_exports[];             // exported stubs, stub_bytes apart
extern char lull_first[];               // what a driver word holds before it is resolved, stub_bytes apart
extern std::atomic<void*> lull_real[];  // the words behind real::X
void* lull_resolve(unsigned row);       // called by the stubs
}
#pragma GCC visibility pop

namespace lull {
namespace {

constexpr unsigned stub_bytes = 16;
constexpr char driver_soname[] = "libcuda.so.1";

std::atomic<void*> driver_handle;  // never closed: its addresses stay in the words below

// Stands in for what the driver does not have. Arguments are the caller's to clear away, so it fits every type.
CUresult not_found() { return CUDA_ERROR_NOT_FOUND; }
void* const missing = reinterpret_cast<void*>(&not_found);

// A look-up that failed inside ours must not be what the program reads from dlerror() after its own success.
void forget_own_error() { (void)::dlerror(); }

}  // namespace

void* driver(Load load) {
  if (void* handle = driver_handle.load(std::memory_order_acquire)) return handle;
  const SignalsBlocked together;  // the loader has locks of its own
  void* handle = next::dlopen(driver_soname, RTLD_LAZY | RTLD_NOLOAD);
  if (!handle && load == Load::yes) handle = next::dlopen(driver_soname, RTLD_LAZY);
  if (!handle) {
    forget_own_error();
    return nullptr;
  }
  driver_handle.store(handle, std::memory_order_release);
  return handle;
}

void* driver_address(unsigned row, Load load) {
  void* known = lull_real[row].load(std::memory_order_acquire);
  if (known == missing) return nullptr;
  if (known != lull_first + row * stub_bytes) return observe::behind(row, known);
  void* handle = driver(load);
  if (!handle) return nullptr;  // asked again next time: the program may yet load a driver
  const SignalsBlocked together;
  void* address = next::dlsym(handle, row_at(row).symbol);
  if (!address) forget_own_error();
  lull_real[row].store(address ? observe::entry(row, address) : missing, std::memory_order_release);
  return address;
}

void* export_address(unsigned row) { return lull_exports + row * stub_bytes; }

}  // namespace lull

// The function that the first call of this row goes on to.
extern "C" void* lull_resolve(unsigned row) {
  return lull::driver_address(row, lull::Load::yes) ? lull_real[row].load(std::memory_order_acquire) : lull::missing;
}
