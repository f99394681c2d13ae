// broker/foreign.h: who is on a card without being a client, and for how much room somebody has asked on their behalf.
//
//   lull free SIZE --for TIME   makes room: what other programs hold may grow by SIZE beyond what it was at that
//                               moment, and until TIME is over nobody under Lull is given that memory. As they take
//                               it, it is counted as theirs, not twice.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "broker/policy.h"

namespace lull {

// A process on the card that is no client, as NVML names it.
struct Stranger {
  int pid = 0;
  std::optional<policy::Bytes> used;  // nothing: the driver does not tell
  std::string command = {};           // empty: it is gone
};

struct Wish {
  policy::Bytes bytes = 0;    // as asked
  policy::Bytes foreign = 0;  // held by other programs at that moment
  policy::Time since = 0, until = 0;
  unsigned uid = 0;  // who asked
};

// What is still to be kept free beyond what other programs hold now.
policy::Bytes still_wanted(const std::optional<Wish>&, policy::Bytes foreign, policy::Time now);

// "Xorg"; empty: it is gone. Characters that would confuse a log or a terminal become '?'.
std::string command_of(int pid);

}  // namespace lull
