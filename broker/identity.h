// broker/identity.h: who a client is. The kernel says it (socket, /proc), never the client; only its tenant's name is
// its own choice, and is no more than a name.
#pragma once
#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "broker/policy.h"
#include "protocol/fd.h"
#include "protocol/result.h"
#include "protocol/socket.h"

namespace lull {

struct TenantKey {
  unsigned uid = 0;
  Class klass = Class::training;
  std::string name;
  auto operator<=>(const TenantKey&) const = default;
};

// "docker:0123456789ab", "podman:…", "faces.service": from the text of /proc/PID/cgroup. Nothing: a login session, a
// desktop, no container. Untrusted: a user's own units have names of the user's choice.
std::optional<std::string> container_or_unit(std::string_view cgroup_text);

// LULL_TENANT if the client gave one, else container or unit, else the command's name.
std::string tenant_name(std::string_view chosen, int pid);

// The cgroup (v2) of a process, as the number of its directory's inode, if it belongs to one container or service
// alone: not a session, a desktop or the root. 0: none such.
std::uint64_t own_cgroup(int pid);
std::optional<std::string> container_or_unit_of(int pid);

std::optional<policy::Time> process_age(int pid);  // since it was started (not since its last exec)
std::optional<int> parent_of(int pid);

// A descriptor for exactly the process that connected, not for whoever has its number now where the kernel can tell.
Result<Fd> pidfd_of(int socket, const Peer&);

}  // namespace lull
