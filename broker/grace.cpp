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

void GraceDebts::came(policy::ClientId client, Time begins_with) { began_[client] = {begins_with, begins_with}; }

void GraceDebts::share(unsigned uid, std::span<Account> all_of_user, Time exit_grace, Time now) {
  const Time debt = owed(uid, now);
  const auto own = [&](const Account& a) { return a.spent - std::min(a.spent, began_[a.client].others); };
  Time spent = debt;
  for (const auto& account : all_of_user) spent += own(account);
  const Time least = spent - std::min(spent, (programs - 1) * exit_grace);
  for (auto& account : all_of_user) {
    auto& began = began_[account.client];
    const Time itself = own(account);
    account.spent = std::max(itself + std::min(began.with, debt), least);
    began.others = account.spent - itself;
  }
}

void GraceDebts::went(policy::ClientId client, unsigned uid, Time spent_in_all, Time now) {
  const auto began = began_.find(client);
  const Time before = began == began_.end() ? 0 : began->second.others;
  if (began != began_.end()) began_.erase(began);
  const Time debt = owed(uid, now) + (spent_in_all - std::min(spent_in_all, before));
  if (debt == 0)
    debts_.erase(uid);
  else
    debts_[uid] = {debt, now};
}

}  // namespace lull
