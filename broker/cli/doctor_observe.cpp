// broker/cli/doctor_observe.cpp: lull doctor -- COMMAND: what Lull would not move of a program, or not see, before it
// is put under Lull.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "broker/cli/cli.h"
#include "broker/cli/doctor.h"
#include "broker/cli/library.h"

namespace lull::cli {
namespace {

namespace fs = std::filesystem;

// A directory of our own, for as long as this lives.
class Reports {
 public:
  Reports() {
    std::error_code error;
    auto name = (fs::temp_directory_path(error) / "lull-observe-XXXXXX").string();
    if (::mkdtemp(name.data())) path_ = name;
  }
  ~Reports() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  Reports(const Reports&) = delete;
  Reports& operator=(const Reports&) = delete;

  const fs::path& path() const { return path_; }
  std::size_t print() const {
    std::set<fs::path> files;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path_, error)) files.insert(entry.path());
    for (const auto& file : files) {
      std::ifstream stream(file);
      fmt::print("{}", std::string{std::istreambuf_iterator<char>(stream), {}});
    }
    return files.size();
  }

 private:
  fs::path path_;
};

[[noreturn]] void become(const std::vector<std::string>& command, const std::string& library, const fs::path& reports) {
  preload(library);
  (void)::setenv("LULL", "observe", 1);
  (void)::setenv("LULL_OBSERVE_REPORT", (reports / "%p").c_str(), 1);
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const auto& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  (void)::execvp(arguments[0], arguments.data());
  const int why = errno;
  fmt::print(stderr, "lull: cannot run {}: {}\n", command.front(), std::strerror(why));
  ::_exit(why == ENOENT ? not_found : cannot_execute);
}

}  // namespace

int observe(const std::vector<std::string>& command) {
  std::string tried;
  const auto library = find_library(tried);
  if (!library) return complain(failure, fmt::format("liblull.so is not at {}; name it with LULL_LIBRARY", tried));
  if (const auto wrong = wrong_with_path(*library); !wrong.empty()) return complain(failure, wrong);
  const Reports reports;
  if (reports.path().empty())
    return complain(failure, fmt::format("no directory for reports: {}; name one with TMPDIR", std::strerror(errno)));
  // An interrupt is for the program; what it has done until then is shown.
  struct sigaction ignore {
  }, interrupt{}, quit{};
  ignore.sa_handler = SIG_IGN;
  (void)::sigaction(SIGINT, &ignore, &interrupt);
  (void)::sigaction(SIGQUIT, &ignore, &quit);
  const pid_t child = ::fork();
  if (child == 0) {
    (void)::sigaction(SIGINT, &interrupt, nullptr);
    (void)::sigaction(SIGQUIT, &quit, nullptr);
    become(command, *library, reports.path());
  }
  if (child < 0) return complain(failure, fmt::format("no process: {}", std::strerror(errno)));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && (WEXITSTATUS(status) == not_found || WEXITSTATUS(status) == cannot_execute))
    return WEXITSTATUS(status);
  if (reports.print() == 0)
    return complain(failure,
                    "no process of it has used the GPU where the library sees it: it is linked statically, "
                    "setuid, of another C library, or its environment is not handed on");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace lull::cli
