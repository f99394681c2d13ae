// broker/time_use.h: what a card's time went to, since the broker's start.
//
//   ran        a client of the class could run: its gate open, all its memory on the card
//   recovered  a trainer could run while a service of a higher class was connected: hours that would have been lost if
//              the service had the card to itself
#pragma once
#include <array>

#include "broker/policy.h"

namespace lull {

class TimeUse {
 public:
  // What has been true since this was called last.
  void observe(const policy::State&, policy::Time now);
  policy::Time ran(Class klass) const { return ran_[static_cast<std::size_t>(klass)]; }
  policy::Time recovered() const { return recovered_; }

 private:
  policy::Time seen_ = 0;
  std::array<policy::Time, 3> ran_{};
  policy::Time recovered_ = 0;
};

}  // namespace lull
