// shim/backlog.h: how much work a stream still has before it, in estimated time. Arithmetic alone: no clock, no driver.
//
// Work is counted in units. A marker is an event behind all units issued so far; `seen` tells which markers have been
// passed. From that:
//
//   issued   units given to the stream                done   units before the last marker that was seen passed
//   unit     estimated time of one unit               ahead  (issued - done) x unit
//
// What the estimate learns from. Nobody sees a marker pass: it happens between a look that finds it waiting and one
// that does not, and a thread that looks may lose its processor at any point. So each look tells the time before it
// asked and the time when it knew, and what the units between two markers took lies between two bounds; the lower one
// only if the stream was busy without a break. A marker that is not passed yet gives a lower bound, too. The estimate
// rises quickly and falls slowly, since too much in the queue is what must not be. Until it knows anything, a unit
// counts as an eighth of the limit: so eight are let in, and looked at one by one.
#pragma once
#include <algorithm>
#include <cstdint>

namespace lull {

class Backlog {
 public:
  using Units = std::uint64_t;
  static constexpr Units most_unmarked = 128;                 // a look costs, but so does a kernel ten times longer
  static constexpr std::uint64_t shortest_span_ns = 100'000;  // of estimated work between two markers

  void begin(std::uint64_t limit_ns, std::uint64_t now_ns) {
    *this = {};
    unit_ns_ = std::max<std::uint64_t>(limit_ns / 8, 1);
    began_after_ns_ = began_by_ns_ = looked_ns_ = now_ns;
  }
  void issue(Units units) { issued_ += units; }
  // A submission of so many units is about to follow: the largest piece that a stream must be let to keep waiting.
  void follows(Units units) { last_ = units; }
  Units position() const { return issued_; }  // of a marker that is placed now
  void marked() { marked_ = issued_, fresh_ = false; }

  // A look at the markers: the newest that has been passed, if any more have, and the oldest that has not.
  struct Marker {
    Units position;
    std::uint64_t placed_ns;  // or a little before
  };
  void seen(std::uint64_t asked_ns, std::uint64_t known_ns, const Marker* passed, const Marker* waiting) {
    if (passed) fruitless_ = 0;
    const std::uint64_t passed_after_ns = passed ? std::max(looked_ns_, passed->placed_ns) : 0;
    if (passed && passed->position > done_) {
      const Units units = passed->position - done_;
      const bool measured = busy_ && waiting;
      at_most((known_ns - began_after_ns_) / units, measured);
      if (measured && passed_after_ns > began_by_ns_) at_least((passed_after_ns - began_by_ns_) / units);
      done_ = passed->position;
    }
    if (passed || !waiting) {
      busy_ = waiting != nullptr;
      if (outstanding() == 0)
        began_after_ns_ = began_by_ns_ = asked_ns;
      else if (passed)  // what has been issued behind that marker may have run from then on
        began_after_ns_ = passed_after_ns, began_by_ns_ = known_ns;
    }
    if (waiting && waiting->position > done_) {
      const std::uint64_t from = std::max(began_by_ns_, waiting->placed_ns);
      if (asked_ns > from) unit_ns_ = std::max(unit_ns_, (asked_ns - from) / (waiting->position - done_));
    }
    looked_ns_ = asked_ns;
  }

  Units outstanding() const { return issued_ > done_ ? issued_ - done_ : 0; }
  std::uint64_t unit_ns() const { return unit_ns_; }
  std::uint64_t ahead_ns() const { return outstanding() * unit_ns_; }

  // Whether so much more may follow at once. What runs now and one piece behind it always may: a stream that ran dry
  // between any two would lose more than is gained.
  bool room(Units units, std::uint64_t limit_ns) const {
    return outstanding() <= last_ || ahead_ns() + units * unit_ns_ <= limit_ns;
  }
  // ... after a wait for room.
  bool calm(std::uint64_t limit_ns) const { return outstanding() <= last_ || ahead_ns() <= limit_ns / 2; }

  // Submissions until the next look.
  Units credit(std::uint64_t limit_ns) const {
    const std::uint64_t ahead = ahead_ns();
    const Units until_full = ahead < limit_ns ? (limit_ns - ahead) / unit_ns_ : 1;
    return std::max<Units>(std::min(span(limit_ns), until_full), 1);
  }
  // Whether a marker is due. The first one stands behind what was queued before anybody counted.
  bool due(std::uint64_t limit_ns, bool any_waiting) const {
    return fresh_ || (issued_ > marked_ && (!any_waiting || (issued_ - marked_) * 2 >= span(limit_ns)));
  }

  // A wait that ended without progress: so many go on before the next one, more each time.
  Units gave_up() { return Units{1} << std::min(fruitless_++, 10u); }
  bool stuck() const { return fruitless_ > 0; }

 private:
  Units span(std::uint64_t limit_ns) const {
    const std::uint64_t ns = std::max(limit_ns / 8, std::min(shortest_span_ns, limit_ns / 4));
    return std::clamp<Units>(ns / unit_ns_, 1, most_unmarked);
  }
  void at_most(std::uint64_t ns, bool measured) {
    ns = std::max<std::uint64_t>(ns, 1);
    if (ns < unit_ns_) unit_ns_ = known_ ? unit_ns_ - (unit_ns_ - ns + 7) / 8 : ns;
    known_ = known_ || measured;
  }
  void at_least(std::uint64_t ns) {
    if (ns > unit_ns_) unit_ns_ += (ns - unit_ns_ + 1) / 2;
  }

  Units issued_ = 0, done_ = 0, marked_ = 0, last_ = 1;
  std::uint64_t unit_ns_ = 1;
  std::uint64_t began_after_ns_ = 0, began_by_ns_ = 0;  // when the first of what is outstanding became the next
  std::uint64_t looked_ns_ = 0;
  bool busy_ = false;   // at the last look that found more passed, a marker was waited for
  bool fresh_ = true;   // nothing has been marked yet
  bool known_ = false;  // there has been a measurement
  unsigned fruitless_ = 0;
};

}  // namespace lull
