#include "broker/privileges.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <iterator>

namespace lull {
namespace {

struct Right {
  unsigned number;
  const char* name;
};

constexpr Right kept_rights[] = {
    {CAP_DAC_OVERRIDE, "dac_override"},  // others' processes in /proc, their oom_score_adj
    {CAP_KILL, "kill"},                  // on_stuck runs as somebody else, and not for ever
    {CAP_SETGID, "setgid"},              // on_stuck becomes that somebody
    {CAP_SETUID, "setuid"},              //
    {CAP_IPC_LOCK, "ipc_lock"},          // a locked stack that grows
    {CAP_SYS_PTRACE, "sys_ptrace"},      // sockets, open devices and maps of others' processes
    {CAP_SYS_RESOURCE, "sys_resource"},  // oom_score_adj below what a process was started with
    {CAP_BPF, "bpf"},                    // sockets that were there before their service was known
};

using Mask = std::uint64_t;
constexpr Mask bit(unsigned right) { return Mask{1} << right; }

constexpr Mask mask_of_kept() {
  Mask mask = 0;
  for (const auto& right : kept_rights) mask |= bit(right.number);
  return mask;
}

// Without CAP_SETPCAP whoever started us has decided; and without new privileges a program has no more than we do.
void bound_children(Mask allowed) {
  for (unsigned right = 0; right < 64 && ::prctl(PR_CAPBSET_READ, right, 0, 0, 0) >= 0; ++right)
    if ((allowed & bit(right)) == 0) (void)::prctl(PR_CAPBSET_DROP, right, 0, 0, 0);
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

// What is left.
Result<Mask> keep_at_most(Mask allowed) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_error("no_new_privs");
  bound_children(allowed);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct words[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, words) != 0) return system_error("capget");
  Mask left = 0;
  for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; ++i) {
    words[i].permitted &= static_cast<std::uint32_t>(allowed >> (32 * i));
    words[i].effective = words[i].permitted;
    words[i].inheritable = 0;
    left |= Mask{words[i].permitted} << (32 * i);
  }
  if (::syscall(SYS_capset, &header, words) != 0) return system_error("capset");
  return left;
}

unsigned other_threads() {
  std::error_code error;
  const auto all = std::distance(std::filesystem::directory_iterator("/proc/self/task", error), {});
  return all > 1 ? static_cast<unsigned>(all - 1) : 0;
}

}  // namespace

Result<Rights> give_up_rights() {
  Rights rights;
  rights.threads = other_threads();
  const auto left = keep_at_most(mask_of_kept());
  if (!left) return left.error();
  for (const auto& right : kept_rights)
    if ((*left & bit(right.number)) != 0) rights.kept.emplace_back(right.name);
  return rights;
}

Status give_up_all_rights() {
  const auto left = keep_at_most(0);
  if (!left) return left.error();
  return Done{};
}

}  // namespace lull
