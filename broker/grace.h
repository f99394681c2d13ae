// broker/grace.h: what each user's programs have had of the card because signals waited behind their gates
// (exit_grace).
//
// A connection has its own account, kept by the policy. Without this one, a program would have a new one whenever it
// connects again. What a user's connections that have gone have spent counts against the next, and is forgiven slowly.
#pragma once
#include <map>

#include "broker/policy.h"

namespace lull {

class GraceDebts {
 public:
  static constexpr policy::Time forgiven = 10;  // a second for each so many

  policy::Time owed(unsigned uid, policy::Time now) const;
  void came(policy::ClientId, policy::Time begins_with);
  void went(policy::ClientId, unsigned uid, policy::Time spent_in_all, policy::Time now);

 private:
  struct Debt {
    policy::Time spent = 0, at = 0;
  };
  std::map<unsigned, Debt> debts_;
  std::map<policy::ClientId, policy::Time> began_with_;
};

}  // namespace lull
