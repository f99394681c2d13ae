// broker/cli/child.h: what another process says, within a time limit: programs, and libraries that may hang.
#pragma once
#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace lull::cli {

struct ChildOutput {
  enum class End { exited, killed, too_late, not_started } end = End::not_started;
  int status = 0;    // of `exited`: the exit status
  std::string text;  // of its standard output, up to the limit below
  bool good() const { return end == End::exited && status == 0; }
};
constexpr std::size_t longest_output = 4 << 20;  // what is beyond is not read: the child then ends by SIGPIPE

// Runs `work` in a forked child whose standard output is read and whose standard error goes nowhere. What `work`
// returns is its exit status. A child that takes longer than `limit` is killed. Only from a process with one thread.
ChildOutput in_child(const std::function<int()>& work, std::chrono::milliseconds limit);

constexpr std::chrono::seconds engine_limit{5};  // for what Docker or podman is asked by a person

// A program found in PATH. Its exit status is 127 where there is none.
ChildOutput run_program(const std::vector<std::string>& words, std::chrono::milliseconds limit);

}  // namespace lull::cli
