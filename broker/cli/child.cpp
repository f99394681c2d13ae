#include "broker/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>

namespace lull::cli {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void be_child(const std::function<int()>& work, int out) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  (void)::setpgid(0, 0);
  const int nowhere = ::open("/dev/null", O_RDWR);
  if (nowhere < 0 || ::dup2(out, STDOUT_FILENO) < 0) ::_exit(126);
  (void)::dup2(nowhere, STDIN_FILENO);
  (void)::dup2(nowhere, STDERR_FILENO);
  const int status = work();
  (void)std::fflush(stdout);
  ::_exit(status);
}

// False: the time is over. True: it has closed its end, or has said too much.
bool read_all(int from, Clock::time_point end, std::string& text) {
  char buffer[4096];
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return false;
    pollfd wait{from, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return true;
    if (ready <= 0) continue;
    const ssize_t got = ::read(from, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || text.size() >= longest_output) return true;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

// A child that has closed its output may still go on.
bool ended(pid_t child, Clock::time_point end, int& status) {
  const timespec pause{0, 1'000'000};
  for (;;) {
    const pid_t gone = ::waitpid(child, &status, WNOHANG);
    if (gone == child) return true;
    if (gone < 0 && errno != EINTR) return false;
    if (Clock::now() > end) return false;
    (void)::nanosleep(&pause, nullptr);
  }
}

}  // namespace

ChildOutput in_child(const std::function<int()>& work, std::chrono::milliseconds limit) {
  const auto end = Clock::now() + limit;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  (void)std::fflush(stdout);  // or the child says it again
  const pid_t child = ::fork();
  if (child == 0) be_child(work, ends[1]);
  (void)::close(ends[1]);
  ChildOutput output;
  int status = 0;
  const bool closed = child > 0 && read_all(ends[0], end, output.text);
  (void)::close(ends[0]);  // who has more to say ends by SIGPIPE
  const bool over = closed && ended(child, end, status);
  if (child < 0) return output;
  if (!over) {
    (void)::kill(-child, SIGKILL);  // and what it has started
    (void)::kill(child, SIGKILL);
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    output.end = ChildOutput::End::too_late;
  } else if (WIFEXITED(status)) {
    output.end = ChildOutput::End::exited;
    output.status = WEXITSTATUS(status);
  } else {
    output.end = ChildOutput::End::killed;
  }
  return output;
}

ChildOutput run_program(const std::vector<std::string>& words, std::chrono::milliseconds limit) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  return in_child(
      [&] {
        (void)::execvp(argv[0], argv.data());
        return 127;
      },
      limit);
}

}  // namespace lull::cli
