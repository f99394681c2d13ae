// broker/privileges.h: the rights of root that lulld uses once it serves. All others it gives up before it makes
// threads and before it listens to anybody.
//
// Before that it needs more: its directories are given to the group lull, kernel programs are loaded, and where no
// cgroup file system is mounted, one is; the management library may have to load a kernel module.
#pragma once
#include <string>
#include <vector>

#include "protocol/result.h"

namespace lull {

struct Rights {
  std::vector<std::string> kept;  // "sys_ptrace", ...; none: an ordinary user's process
  unsigned threads = 0;           // of libraries, made earlier: rights are each thread's own, and they keep theirs
};

// Of the calling thread, of those it makes from now on, and of whatever they start: no program gives more either.
Result<Rights> give_up_rights();

// For helpers, which need none.
Status give_up_all_rights();

}  // namespace lull
