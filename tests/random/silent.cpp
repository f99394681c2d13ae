#include "tests/random/silent.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace lull::random {
namespace {

std::string line_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::string threads(pid_t pid) {
  std::string text;
  std::error_code gone;
  const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
  for (std::filesystem::directory_iterator task(tasks, gone), end; !gone && task != end; task.increment(gone)) {
    const std::string stat = line_of(task->path() / "stat");
    const std::string since_name = stat.substr(std::min(stat.rfind(')'), stat.size()));
    text += "  " + task->path().filename().string() + " " + line_of(task->path() / "comm") + ", state " +
            since_name.substr(std::min<std::size_t>(2, since_name.size()), 1) + ", in " +
            line_of(task->path() / "wchan") + ", system call " + line_of(task->path() / "syscall") + "\n";
  }
  return text;
}

std::string backtraces(pid_t pid) {
  const std::string command =
      "timeout 60 gdb -nx -batch -p " + std::to_string(pid) + " -ex 'thread apply all bt 14' 2>&1 | grep -v '^\\[New'";
  std::FILE* output = ::popen(command.c_str(), "r");
  if (!output) return {};
  std::string text;
  char part[4096];
  for (std::size_t n; (n = std::fread(part, 1, sizeof part, output)) > 0;) text.append(part, n);
  (void)::pclose(output);
  return text;
}

}  // namespace

std::string where_it_waits(pid_t pid) { return threads(pid) + backtraces(pid); }

}  // namespace lull::random
