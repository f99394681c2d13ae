#include "shim/dl.h"

#include <atomic>
#include <cstring>

#include "shim/environment.h"
#include "shim/lookup.h"
#include "shim/next.h"
#include "shim/observe.h"
#include "shim/protection.h"

namespace lull {
namespace {

void* no_loader() { return nullptr; }  // in place of a function that no loaded library has

// A libc function behind our export of the same name. Absence is not remembered: libdl may be loaded later.
template <typename F>
class Next {
 public:
  explicit constexpr Next(const char* name) : name_(name) {}

  void* address() {
    if (void* known = address_.load(std::memory_order_acquire)) return known;
    void* found = next_function(name_);
    if (!found) return reinterpret_cast<void*>(&no_loader);
    address_.store(found, std::memory_order_release);
    return found;
  }
  F* function() { return reinterpret_cast<F*>(address()); }

 private:
  const char* name_;
  std::atomic<void*> address_{nullptr};
};

constinit Next<void*(void*, const char*)> next_dlsym{"dlsym"};
constinit Next<void*(void*, const char*, const char*)> next_dlvsym{"dlvsym"};
constinit Next<void*(const char*, int)> next_dlopen{"dlopen"};
constinit Next<void*(Lmid_t, const char*, int)> next_dlmopen{"dlmopen"};

// RTLD_NEXT and RTLD_DEFAULT mean "as seen from the caller": only a tail jump answers them rightly, and for
// RTLD_DEFAULT our exports, being preloaded, are the answer already.
bool concerns_driver(void* handle, const char* name) {
  return on(Protection::dlsym_route) && handle != RTLD_NEXT && handle != RTLD_DEFAULT && name && name[0] == 'c' &&
         name[1] == 'u' && name[2] >= 'A' && name[2] <= 'Z';
}

bool names_driver(const char* file) { return file && std::strstr(file, "libcuda.so"); }

}  // namespace

void* next::dlsym(void* handle, const char* name) { return next_dlsym.function()(handle, name); }
void* next::dlopen(const char* file, int mode) { return next_dlopen.function()(file, mode); }

}  // namespace lull

// What the stubs of dl.S do: return `answer` if there is one, else jump to `next` with the caller's arguments.
struct Route {
  void* answer;
  void* next;
};

// What the code for dlopen in dl.S does: jump to `next` with `mode`.
struct OpenRoute {
  long mode;
  void* next;
};

extern "C" {

[[gnu::visibility("hidden")]] Route lull_route_dlsym(void* handle, const char* name) {
  void* next = lull::next_dlsym.address();
  if (!lull::on(lull::Protection::tail_jump)) return {lull::next_dlsym.function()(handle, name), next};
  if (!lull::concerns_driver(handle, name)) return {nullptr, next};
  void* found = lull::next_dlsym.function()(handle, name);
  return {found ? lull::lookup::by_symbol(handle, name, found) : nullptr, next};
}

[[gnu::visibility("hidden")]] Route lull_route_dlvsym(void* handle, const char* name, const char* version) {
  void* next = lull::next_dlvsym.address();
  if (!lull::concerns_driver(handle, name)) return {nullptr, next};
  void* found = lull::next_dlvsym.function()(handle, name, version);
  return {found ? lull::lookup::by_symbol(handle, name, found) : nullptr, next};
}

// A library bound deeply would look past our exports, for the driver's functions and for dlopen and dlsym themselves.
[[gnu::visibility("hidden")]] OpenRoute lull_route_dlopen(const char*, int mode) {
  if (lull::on(lull::Protection::shallow_bind) && (mode & RTLD_DEEPBIND) != 0 && lull::opted_in())
    mode &= ~RTLD_DEEPBIND;
  if ((mode & RTLD_DEEPBIND) != 0 && lull::observe::wanted()) lull::observe::came_by(lull::observe::Route::deep_bind);
  return {mode, lull::next_dlopen.address()};
}

// A driver in a namespace of its own is out of our reach: say so instead of managing half a process.
[[gnu::visibility("hidden")]] void* lull_route_dlmopen(Lmid_t space, const char* file, int) {
  if (lull::on(lull::Protection::namespace_watch) && space != LM_ID_BASE && lull::names_driver(file) &&
      lull::opted_in())
    lull::declare_unmanaged("the driver was opened in a namespace of its own (dlmopen)");
  if (space != LM_ID_BASE && lull::names_driver(file) && lull::observe::wanted())
    lull::observe::came_by(lull::observe::Route::other_namespace);
  return lull::next_dlmopen.address();
}

}  // extern "C"
