#include "broker/cli/container_names.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "broker/cli/child.h"

namespace lull::cli {
namespace {

constexpr std::size_t digits = 12;
constexpr std::chrono::seconds patience{2}, pause{30};

// "docker:0123456789ab" → the digits; else nothing.
std::string id_in(const std::string& tenant) {
  const auto colon = tenant.find(':');
  if (colon == std::string::npos || tenant.size() != colon + 1 + digits) return "";
  const auto id = tenant.substr(colon + 1);
  const bool hex = std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isxdigit(c); });
  return hex ? id : "";
}

}  // namespace

ContainerNames::ContainerNames()
    : ask_([](const std::vector<std::string>& words) {
        auto said = run_program(words, patience);
        return said.good() ? std::move(said.text) : std::string();
      }) {}

std::string ContainerNames::operator()(const std::string& tenant) {
  const auto id = id_in(tenant);
  if (id.empty()) return tenant;
  const auto name = names_.find(id);
  if (name != names_.end()) return name->second;
  missed_.insert(id);
  return tenant;
}

bool ContainerNames::learn(std::chrono::steady_clock::time_point now) {
  if (missed_.empty() || now < next_) return false;
  next_ = now + pause;
  missed_.clear();
  const auto before = names_.size();
  for (const char* engine : {"docker", "podman"}) {
    std::istringstream lines(ask_({engine, "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}"}));
    for (std::string id, name; lines >> id >> name;)
      if (id.size() >= digits) names_[id.substr(0, digits)] = name;
  }
  return names_.size() != before;
}

}  // namespace lull::cli
