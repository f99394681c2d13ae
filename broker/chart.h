// broker/chart.h: what the picture of a card is drawn from: what each client was doing when, and how much of its memory
// was on the card. The last changes only; `lull trace` reads them beside the events.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "broker/switches.h"

namespace lull {

enum class Doing : std::uint8_t { gone, unmanaged, running, draining, evicting, paused, evicted, restoring };
inline constexpr const char* doing_names[] = {"gone",     "unmanaged", "running", "draining",
                                              "evicting", "paused",    "evicted", "restoring"};
Doing doing_of(const policy::Client&);

class Chart {
 public:
  static constexpr std::size_t kept = 16384;
  static constexpr policy::Time soon = 50 * policy::ms;
  struct Point {
    policy::Time at;
    policy::ClientId client;  // 0: programs that are no clients
    Doing doing;
    policy::Bytes resident;
  };

  // After each step. Of memory that moves, a point for each `grain` bytes, or after a while.
  void note(const Table&, policy::Bytes foreign, policy::Bytes grain, policy::Time now);

  const std::deque<Point>& points() const { return points_; }
  std::vector<Who> who() const;  // of everybody that a point speaks of

 private:
  struct Line {
    Who who;
    Point last;
  };
  void bury(Line&, policy::Time now);
  void add(Line&, Doing, policy::Bytes resident, policy::Bytes grain, policy::Time now);
  void forget_old();

  std::deque<Point> points_;
  std::vector<Line> lines_;  // by client, as those of a table; the foreign first
  struct Left {
    Who who;
    policy::Time at;
  };
  std::deque<Left> gone_;  // clients that have left, while a point still speaks of them
};

}  // namespace lull
