#include "broker/helper.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "broker/clock.h"
#include "protocol/fd.h"

extern char** environ;

namespace lull {

pid_t start_helper(const std::vector<std::string>& arguments, int fd, int as) {
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) return 0;
  (void)posix_spawn_file_actions_adddup2(&actions, fd, as);  // fails only for lack of memory; the helper reports it
  posix_spawnattr_t attributes;
  (void)posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  (void)posix_spawnattr_setsigmask(&attributes, &none);
  (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(), environ) != 0) pid = 0;
  (void)posix_spawn_file_actions_destroy(&actions);
  (void)posix_spawnattr_destroy(&attributes);
  return pid;
}

bool await_end(pid_t pid, policy::Time longest) {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto deadline = longest == policy::never ? longest : now_ns() + longest;
  for (;;) {
    const auto now = now_ns();
    const auto left = deadline == policy::never ? policy::second : (deadline - std::min(deadline, now)) / policy::ms;
    pollfd wait{process.get(), POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(std::min<policy::Time>(left, 1000))) == 1 && wait.revents & POLLIN)
      return true;
    if (deadline != policy::never && now_ns() >= deadline) return false;
  }
}

bool reap_helper(pid_t pid) {
  int status = -1;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace lull
