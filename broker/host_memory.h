// broker/host_memory.h: how much host memory evicted GPU memory may take, and what each client may still allocate so
// that there is always a place for it.
#pragma once
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "broker/config.h"
#include "broker/policy.h"

namespace lull {

struct HostMemory {
  policy::Bytes total = 0, available = 0, swap = 0;
};
std::optional<HostMemory> parse_meminfo(std::string_view);
HostMemory read_host_memory();  // zeroes when /proc is not there

// What is to stay available on the machine.
policy::Bytes keep_free(const Config&, const HostMemory&);

// Of all users together: what the configuration says, else MemTotal - max(8 GiB, 20 %), at least a quarter; and never
// so much that less than `keep_free` stays available. `held` is what arenas hold now.
policy::Bytes host_budget(const Config&, const HostMemory&, policy::Bytes held);

// What arenas may take ahead of need: some more stays free, or each page that somebody else takes would ask for one
// back.
policy::Bytes budget_ahead(const Config&, const HostMemory&, policy::Bytes held);

// What programs have allocated: the sum, and the smallest of them.
class Needs {
 public:
  void add(policy::Bytes);
  Needs without(policy::Bytes one) const;  // of those added; only once
  bool none() const { return count_ == 0; }
  policy::Bytes sum() const { return sum_; }
  policy::Bytes smallest() const { return smallest_; }

 private:
  policy::Bytes sum_ = 0, smallest_ = ~policy::Bytes{0}, next_smallest_ = ~policy::Bytes{0};
  std::size_t count_ = 0;
};

// What one user may take of that budget, and of what is on disk besides: what the configuration says; else all of it
// while nobody else has programs here, and all but an eighth with others, so that there is a place for each of them.
// With a disk behind it all: there it is the spilling that makes place, and it looks at the whole alone.
policy::Bytes user_share(const Config&, const HostMemory&, bool alone);

// What the programs of each user have allocated. What is claimed beyond a user's share takes no place from others.
class UserNeeds {
 public:
  void add(unsigned uid, policy::Bytes need);
  struct Others {
    Needs of_user;                  // without the one that is asked for
    policy::Bytes of_all_else = 0;  // none of them counted for more than its share
    policy::Bytes smallest = ~policy::Bytes{0};
  };
  Others beside(unsigned uid, std::optional<policy::Bytes> need, policy::Bytes share) const;  // need: was added; or not

 private:
  struct User {
    unsigned uid;
    Needs needs;
  };
  std::vector<User> users_;  // few
};

// Admission: when one client runs, all others may have to be in host memory. So the sum of needs less the smallest must
// fit the budget; what fits on the card beside the others needs no place at all (`fits`). Nothing: no limit.
struct Place {
  policy::Bytes budget;  // of all users
  policy::Bytes share;   // of each of them
  policy::Bytes fits;
};
std::optional<policy::Bytes> admit_limit(const UserNeeds::Others&, policy::Bytes own, const Place&);

}  // namespace lull
