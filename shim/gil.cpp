#include "shim/gil.h"

#include "shim/environment.h"
#include "shim/next.h"
#include "shim/protection.h"
#include "shim/signals.h"

namespace lull {
namespace {

struct Python {
  int (*initialized)();
  int (*finalizing)();
  void* (*this_thread)();  // the state this thread would use
  void* (*holder)();       // the state that holds the lock (until 3.11), or that is attached to this thread (from 3.12)
  void* (*save)();
  void (*restore)(void*);
};

template <class F>
void find(F& function, const char* name, const char* older = nullptr) {
  void* found = any_function(name);
  if (!found && older) found = any_function(older);
  function = reinterpret_cast<F>(found);
}

// Not by dlsym: the program's dlerror() would tell of a failure that is not its own. The search holds a lock of the
// loader's, and signals come in just when a program is paused; a handler that left by longjmp would keep it for ever.
Python find_python() {
  Python p{};
  const SignalsBlocked blocked;
  find(p.initialized, "Py_IsInitialized");
  if (!p.initialized) return p;
  find(p.finalizing, "Py_IsFinalizing", "_Py_IsFinalizing");
  find(p.this_thread, "PyGILState_GetThisThreadState");
  find(p.holder, "PyThreadState_GetUnchecked", "_PyThreadState_UncheckedGet");
  find(p.save, "PyEval_SaveThread");
  find(p.restore, "PyEval_RestoreThread");
  return p;
}

}  // namespace

void GilRelease::release() {
  if (asked_) return;
  asked_ = true;
  if (!on(Protection::gil_release)) return;
  if (environment().klass == Class::inference) return;  // a service is paused briefly, and its locks are its own affair
  const Python python = find_python();
  if (!python.initialized || !python.finalizing || !python.this_thread || !python.holder || !python.save ||
      !python.restore)
    return;
  if (!python.initialized() || python.finalizing()) return;
  void* mine = python.this_thread();
  if (mine && mine == python.holder()) saved_ = python.save();
}

bool interpreter_finalizes() {
  const Python python = find_python();
  return python.finalizing && python.finalizing();
}

GilRelease::~GilRelease() {
  if (!saved_) return;
  const Python python = find_python();
  if (python.restore) python.restore(saved_);
}

}  // namespace lull
