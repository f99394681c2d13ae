// broker/helper.h: a process of the broker's own program, for work that may hang, be killed or crash.
#pragma once
#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "broker/policy.h"

namespace lull {

// Runs this program with these arguments and `fd` as descriptor `as`. Not yet reaped, its number is its own: it may be
// killed until reap_helper() is called. 0: it could not be started.
// `environment`: null for this program's own.
pid_t start_helper(const std::vector<std::string>& arguments, int fd, int as,
                   const std::vector<std::string>* environment = nullptr);
// The same with several descriptors, as 3, 4, ...
pid_t start_helper(const std::vector<std::string>& arguments, std::span<const int> fds);
bool await_end(pid_t, policy::Time longest);  // false: it has not ended; it is not reaped
std::string one_line(std::string said);       // by a helper, who is a stranger, too: fit for a log
bool reap_helper(pid_t);                      // one that has ended: whether it has ended well

}  // namespace lull
