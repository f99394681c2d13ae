// broker/grace.h: what each user's programs have had of the card because signals waited behind their gates
// (exit_grace).
//
// A connection has its own account, kept by the policy. Without this one, a program would have a new one whenever it
// connects again, or as many as it has connections. What a user's connections that have gone have spent counts against
// the next, and is forgiven slowly; and all of them together have as much as four programs need.
#pragma once
#include <map>
#include <span>

#include "broker/policy.h"

namespace lull {

class GraceDebts {
 public:
  static constexpr policy::Time forgiven = 10;  // a second for each so many
  static constexpr policy::Time programs = 4;   // that a user may end at the same time

  struct Account {
    policy::ClientId client;
    policy::Time spent;
  };

  policy::Time owed(unsigned uid, policy::Time now) const;
  void came(policy::ClientId, policy::Time begins_with);
  // Once a user's connections have spent what all but one may have, what is left is left for all of them together: the
  // accounts of those that are here are brought to it, and back when it has been forgiven. To be called before a turn,
  // too.
  void share(unsigned uid, std::span<Account> all_of_user, policy::Time exit_grace, policy::Time now);
  void went(policy::ClientId, unsigned uid, policy::Time spent_in_all, policy::Time now);

 private:
  struct Debt {
    policy::Time spent = 0, at = 0;
  };
  std::map<unsigned, Debt> debts_;
  struct Began {
    policy::Time with = 0;    // the debt it found
    policy::Time others = 0;  // what of its account is others' spending now
  };
  std::map<policy::ClientId, Began> began_;
};

}  // namespace lull
