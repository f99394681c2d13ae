// broker/helper.h: a process of the broker's own program, for work that may hang, be killed or crash.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

#include "broker/policy.h"

namespace lull {

// Runs this program with these arguments and `fd` as descriptor `as`. Not yet reaped, its number is its own: it may be
// killed until reap_helper() is called. 0: it could not be started.
pid_t start_helper(const std::vector<std::string>& arguments, int fd, int as);
bool await_end(pid_t, policy::Time longest);  // false: it has not ended; it is not reaped
bool reap_helper(pid_t);                      // one that has ended: whether it has ended well

}  // namespace lull
