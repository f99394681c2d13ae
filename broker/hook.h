// broker/hook.h: runs the administrator's command when a wait has no end in sight (on_stuck), and when it has ended.
//
// A thread of ordinary priority starts one process at a time: this program again, which gives up root's rights, becomes
// the configured user and then the command. There is no shell. It has `hook_time`, then its process group is killed;
// while one runs, at most `hook_queue` more wait, and later ones are dropped and counted.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "broker/policy.h"

namespace lull {

inline constexpr policy::Time hook_time = 10 * policy::second;
inline constexpr std::size_t hook_queue = 16;

class Hook {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;
  Hook();
  ~Hook();  // kills what runs
  void set(std::vector<std::string> command, std::string user);
  bool run(const Environment&);  // false: no command is set, or too many wait
  std::uint64_t dropped() const { return dropped_; }

 private:
  struct Job {
    std::vector<std::string> arguments;
    Environment environment;
  };
  void serve();
  void execute(const Job&);
  std::vector<std::string> command_;  // of the event thread
  std::string user_;
  std::uint64_t dropped_ = 0;
  std::mutex mutex_;
  std::condition_variable added_;
  std::deque<Job> jobs_;
  bool stop_ = false;
  pid_t child_ = 0;
  std::thread thread_;
};

// What the process runs: lulld --run-hook USER COMMAND. Returns only when it fails.
int run_hook(const std::vector<std::string>& user_and_command);

}  // namespace lull
