#include "broker/helper.h"

#include <fcntl.h>
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

namespace {

struct Descriptor {
  int ours, theirs;
};

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const auto& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

pid_t spawn(const std::vector<std::string>& arguments, std::span<const Descriptor> descriptors,
            const std::vector<std::string>* environment = nullptr) {
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) return 0;
  for (const auto& d : descriptors)  // fails only for lack of memory; the helper reports it
    (void)posix_spawn_file_actions_adddup2(&actions, d.ours, d.theirs);
  posix_spawnattr_t attributes;
  (void)posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  (void)posix_spawnattr_setsigmask(&attributes, &none);
  (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const auto argv = pointers_to(arguments);
  const auto variables = environment ? pointers_to(*environment) : std::vector<char*>();
  pid_t pid = 0;
  if (posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, argv.data(),
                  environment ? variables.data() : environ) != 0)
    pid = 0;
  (void)posix_spawn_file_actions_destroy(&actions);
  (void)posix_spawnattr_destroy(&attributes);
  return pid;
}

}  // namespace

pid_t start_helper(const std::vector<std::string>& arguments, int fd, int as,
                   const std::vector<std::string>* environment) {
  const Descriptor descriptor{fd, as};
  return spawn(arguments, {&descriptor, 1}, environment);
}

// Out of the way first: one of ours could have the number that another one is to get.
pid_t start_helper(const std::vector<std::string>& arguments, std::span<const int> fds) {
  constexpr int first = 3, beyond = 64;
  std::vector<Fd> moved;
  std::vector<Descriptor> descriptors;
  for (const int fd : fds) {
    moved.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, beyond));
    if (!moved.back()) return 0;
    descriptors.push_back({moved.back().get(), first + static_cast<int>(descriptors.size())});
  }
  return spawn(arguments, descriptors);
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

std::string one_line(std::string said) {
  said.resize(std::min<std::size_t>(said.size(), 200));
  std::replace_if(
      said.begin(), said.end(), [](char c) { return c < ' ' || c > '~'; }, ' ');
  while (!said.empty() && said.back() == ' ') said.pop_back();
  return said;
}

bool reap_helper(pid_t pid) {
  int status = -1;
  return ::waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace lull
