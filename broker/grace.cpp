#include "broker/grace.h"

#include <algorithm>

namespace lull {

using policy::Time;

Time GraceDebts::owed(unsigned uid, Time now) const {
  const auto debt = debts_.find(uid);
  if (debt == debts_.end()) return 0;
  const Time less = (now - std::min(now, debt->second.at)) / forgiven;
  return debt->second.spent - std::min(debt->second.spent, less);
}

void GraceDebts::came(policy::ClientId client, Time begins_with) { began_with_[client] = begins_with; }

void GraceDebts::share(unsigned uid, std::span<Account> all_of_user, Time exit_grace, Time now) {
  Time spent = owed(uid, now);
  for (const auto& account : all_of_user) spent += account.spent - std::min(account.spent, began_with_[account.client]);
  const Time least = spent - std::min(spent, (programs - 1) * exit_grace);
  for (auto& account : all_of_user) {
    if (account.spent >= least) continue;
    began_with_[account.client] += least - account.spent;  // it has not spent that itself
    account.spent = least;
  }
}

void GraceDebts::went(policy::ClientId client, unsigned uid, Time spent_in_all, Time now) {
  const auto began = began_with_.find(client);
  const Time before = began == began_with_.end() ? 0 : began->second;
  if (began != began_with_.end()) began_with_.erase(began);
  const Time debt = owed(uid, now) + (spent_in_all - std::min(spent_in_all, before));
  if (debt == 0)
    debts_.erase(uid);
  else
    debts_[uid] = {debt, now};
}

}  // namespace lull
