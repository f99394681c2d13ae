// broker/orders.h: what an owner has said by hand of a process: pause, release, hold.
//
// Who may say so is root and the uid of the process. A word for a tenant holds for processes of it that come later,
// too, as long as one is there; a gang is spoken to as a whole. A restart of lulld forgets all of it: then programs go
// on.
#pragma once
#include "broker/policy.h"

namespace lull {

struct OwnersWord {
  policy::Order order = policy::Order::none;
  policy::Time until = policy::never;
  bool of_tenant = false;  // else of this process alone
};

constexpr const char* name_of(policy::Order order) {
  constexpr const char* names[] = {"resume", "hold", "pause", "release"};
  return names[static_cast<int>(order)];
}

}  // namespace lull
