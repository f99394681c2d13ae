// broker/policy_outlook.h: what is to come, as far as it can be known: for people who look.
#pragma once
#include <optional>

#include "broker/policy.h"

namespace lull::policy {

// When the lease will end if everybody goes on as now: who computes goes on computing, who rests goes on resting, and
// nobody new asks. Nothing: nobody has it, or not before somebody asks for it.
//
// No second description of the rules: decide() is asked what it would do then, and then, and then.
std::optional<Time> lease_end(const State&, Time now);

}  // namespace lull::policy
