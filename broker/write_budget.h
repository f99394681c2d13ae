// broker/write_budget.h: how much of what changes may still be written to the spill directory today, as arithmetic. A
// day is one of UTC. It survives the broker: the record is in the state directory before anything is written.
#pragma once
#include <optional>
#include <string>

#include "broker/policy.h"

namespace lull {

class WriteBudget {
 public:
  WriteBudget() = default;
  // A record of another day, or none, is a fresh day; one that makes no sense counts as a day that is used up.
  WriteBudget(const std::optional<std::string>& record, std::uint64_t today);

  policy::Bytes left(policy::Bytes daily, std::uint64_t today) const;
  policy::Bytes used(std::uint64_t today) const { return today == day_ ? used_ : 0; }
  void take(policy::Bytes, std::uint64_t today);
  void give_back(policy::Bytes);  // was taken and has not been written
  std::string record() const;

 private:
  std::uint64_t day_ = 0;
  policy::Bytes used_ = 0;
};

std::uint64_t today();  // days since 1970

// The record's file. Reading: nothing where there is none yet.
std::optional<std::string> read_record(const std::string& path);
bool write_record(const std::string& path, const std::string& record);

}  // namespace lull
