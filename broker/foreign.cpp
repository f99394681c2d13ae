#include "broker/foreign.h"

#include <algorithm>
#include <fstream>

namespace lull {

policy::Bytes still_wanted(const std::optional<Wish>& wish, policy::Bytes foreign, policy::Time now) {
  if (!wish || now >= wish->until) return 0;
  const policy::Bytes most = wish->foreign + wish->bytes;
  return most - std::min(most, foreign);
}

std::string command_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c < ' ' || c > '~' || c == '"'; }, '?');
  return name;
}

}  // namespace lull
