// bpf/cgroup_root.h: a descriptor of the root of cgroup2, where the packet programs are attached.
#pragma once
#include "bpf/handle.h"

namespace lull {

// The mounted one (pure, hybrid), else one of our own. Empty on failure, with errno set.
Handle open_cgroup_root();

// A cgroup2 mount that no path leads to: it ends with the descriptor. For hosts with cgroup v1 alone.
Handle mount_cgroup_root();

}  // namespace lull
