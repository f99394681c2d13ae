// broker/oom.h: mapping backing must not make a program the choice of the kernel's out-of-memory killer.
//
// The kernel scores a process by what it has mapped, and counts shared memory in full for everybody who maps it. A
// trainer with 20 GiB of backing would look like the largest program of the machine, though ending it frees nothing
// that is its own. So its oom_score_adj is lowered by the share of the machine's memory that its mapped backing is: the
// score becomes what it would be without. Never by more; what an administrator or the program itself writes there
// meanwhile is the new base; and the base is written back when the backing is gone, or the broker ends. So that a
// broker that was killed leaves nothing behind, what was written stands in a file, which the next one reads.
//
// Lowering needs CAP_SYS_RESOURCE. Not for the event thread: /proc is asked, which may take its time.
#pragma once
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/policy.h"

namespace lull {

struct OomScore {
  std::uint64_t started = 0;  // of the process, as /proc tells: tells it from another one of the same number
  int base = 0;               // what stood there before us
  int written = 0;            // what we have written
  bool operator==(const OomScore&) const = default;
};
using OomScores = std::map<int, OomScore>;  // by pid

// Thousandths of the machine's memory and swap, rounded down.
int oom_share(policy::Bytes mapped, policy::Bytes machine);

// What to write where `now` is read. -1000, "never end it", stays.
OomScore adjusted(std::optional<OomScore> before, std::uint64_t started, int now, int share);

std::string show_scores(const OomScores&);
std::vector<std::pair<int, OomScore>> parse_scores(std::string_view untrusted);  // what makes no sense is left out

class OomKeeper {
 public:
  struct Mapped {
    int pid;
    policy::Bytes backing;
  };
  explicit OomKeeper(std::string path);  // puts right what an earlier broker has left there
  ~OomKeeper();                          // writes every base back
  OomKeeper(const OomKeeper&) = delete;
  OomKeeper& operator=(const OomKeeper&) = delete;

  // Everybody who has backing now; those who have none any more get their base back.
  void adjust(const std::vector<Mapped>&, policy::Bytes machine);

  std::size_t adjusted_count() const { return count_; }
  int error() const { return error_; }  // errno of the last attempt that failed; 0: none has

 private:
  std::optional<OomScore> wanted_for(const Mapped&, policy::Bytes machine) const;
  void restore(int pid, const OomScore&);
  void save(const OomScores& before);
  std::string path_;
  OomScores scores_;
  OomScores refused_;  // not tried again
  std::atomic<std::size_t> count_{0};
  std::atomic<int> error_{0};
};

}  // namespace lull
