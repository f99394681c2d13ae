#include "broker/hook.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "broker/helper.h"
#include "protocol/fd.h"

namespace lull {

Hook::Hook() {
  thread_ = std::thread([this] { serve(); });
  (void)::pthread_setname_np(thread_.native_handle(), "lulld-hook");  // for ps only
}

Hook::~Hook() {
  {
    const std::lock_guard guard(mutex_);
    stop_ = true;
    if (child_ > 0) (void)::kill(-child_, SIGKILL);  // not reaped before child_ is cleared, so the number is its own
  }
  added_.notify_one();
  thread_.join();
}

void Hook::set(std::vector<std::string> command, std::string user) {
  command_ = std::move(command);
  user_ = std::move(user);
}

bool Hook::run(const Environment& environment) {
  if (command_.empty()) return false;
  Job job{{"lulld", "--run-hook", user_}, environment};
  job.arguments.insert(job.arguments.end(), command_.begin(), command_.end());
  {
    const std::lock_guard guard(mutex_);
    if (jobs_.size() >= hook_queue) return ++dropped_, false;
    jobs_.push_back(std::move(job));
  }
  added_.notify_one();
  return true;
}

void Hook::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    added_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    const auto job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    execute(job);
    lock.lock();
  }
}

void Hook::execute(const Job& job) {
  const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing) return;
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin"};
  for (const auto& [name, value] : job.environment) environment.push_back(name + "=" + value);
  {
    const std::lock_guard guard(mutex_);
    if (stop_) return;
    child_ = start_helper(job.arguments, nothing.get(), 0, &environment);
    if (child_ == 0) return;
  }
  if (!await_end(child_, hook_time)) {
    (void)::kill(-child_, SIGKILL);
    (void)::kill(child_, SIGKILL);  // should it not have come to make its group
    (void)await_end(child_, hook_time);
  }
  const std::lock_guard guard(mutex_);
  (void)reap_helper(std::exchange(child_, 0));
}

namespace {

int cannot(const char* what) {
  std::fprintf(stderr, "lulld: on_stuck: cannot %s: %s\n", what, std::strerror(errno));
  return 1;
}

// Root is given up for good: groups first, while that is still permitted.
bool become(const std::string& name) {
  if (::geteuid() != 0) return true;
  const passwd* user = ::getpwnam(name.c_str());
  if (!user) return errno = errno ? errno : ENOENT, false;
  return ::setgroups(0, nullptr) == 0 && ::setresgid(user->pw_gid, user->pw_gid, user->pw_gid) == 0 &&
         ::setresuid(user->pw_uid, user->pw_uid, user->pw_uid) == 0;
}

}  // namespace

int run_hook(const std::vector<std::string>& user_and_command) {
  if (user_and_command.size() < 2) return 1;
  (void)::setpgid(0, 0);  // fails only for a leader, which has its group
  (void)::setpriority(PRIO_PROCESS, 0, 0);
  if (::syscall(SYS_close_range, 3u, ~0u, 0u) != 0) return cannot("close descriptors");
  if (!become(user_and_command.front())) return cannot(("become " + user_and_command.front()).c_str());
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return cannot("give up new rights");
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return cannot("end with the broker");
  std::vector<char*> argv;
  for (std::size_t i = 1; i < user_and_command.size(); ++i)
    argv.push_back(const_cast<char*>(user_and_command[i].c_str()));
  argv.push_back(nullptr);
  (void)::execv(argv[0], argv.data());
  return cannot(("run " + user_and_command[1]).c_str());
}

}  // namespace lull
