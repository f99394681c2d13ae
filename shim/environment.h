// shim/environment.h: what the process's surroundings ask of the shim, read once.
//
// A process is opted in when LULL_CLASS names a class whose socket it can reach, or when exactly one class directory is
// mounted at the runtime directory (a container). LULL=off, LULL=observe, secure execution, and a profiler or debugger
// that needs the driver for itself leave the shim inert: every call goes straight through.
#pragma once
#include <cstdint>

#include "protocol/words.h"

namespace lull {

enum class Hashing : std::uint8_t {
  on,
  off,      // every eviction copies, no restore is proven
  compare,  // besides, every byte of what the hash calls unchanged is compared; slow, for finding faults
};

struct Environment {
  bool opted_in = false;
  bool observe = false;  // LULL=observe: not opted in, but keeps account (observe.h)
  bool log = false;
  bool native = false;  // LULL_IPC=native: allocate as the driver does; the process can be paused, not evicted
  bool gang = false;    // WORLD_SIZE > 1
  Hashing hashing = Hashing::on;  // LULL_HASH
  Class klass = Class::training;
  const char* why_inert = "";  // for people, when not opted in
  const char* obstacle = "";   // observing: why Lull would leave this program alone
  char report[1024] = "";      // observing: LULL_OBSERVE_REPORT; empty: standard error
  char tenant[64] = "";
  char socket_path[96] = "";  // the broker's socket for this class
  char sizes_path[96] = "";   // the file with the sizes promised to every process of the class
};

const Environment& environment();
inline bool opted_in() { return environment().opted_in; }

// From now on this process is not managed (a namespace or a condition the shim cannot follow). Any thread, once is
// enough.
void declare_unmanaged(const char* why);

}  // namespace lull
