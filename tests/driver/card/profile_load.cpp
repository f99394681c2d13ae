// Where profiles come from: the built-in ones are in the library, so that it finds them wherever it lies.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/driver/card/profile.h"

namespace lull::sim {
namespace {

struct BuiltIn {
  std::string_view name, text;
};
constexpr BuiltIn built_in[] = {
#include "tests/driver/profiles/profiles.inc"
};

constexpr std::size_t most_bytes = 1u << 20;

bool read_text(const std::string& path, std::string& out, std::string& problem) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : 1;
  char part[4096];
  while (n > 0 && out.size() < most_bytes) {
    n = ::read(fd, part, sizeof part);
    if (n > 0) out.append(part, static_cast<std::size_t>(n));
  }
  if (n < 0) problem = path + ": cannot read it: " + std::strerror(errno);
  if (n > 0) problem = path + ": larger than 1 MiB: no profile of a card";
  if (fd >= 0) (void)::close(fd);
  return n == 0;
}

}  // namespace

std::vector<std::string> built_in_profiles() {
  std::vector<std::string> names;
  for (const BuiltIn& one : built_in) names.emplace_back(one.name);
  return names;
}

std::string_view built_in_text(std::string_view name) {
  for (const BuiltIn& one : built_in) {
    if (one.name == name) return one.text;
  }
  return {};
}

bool load_profile(const std::string& name_or_path, Profile& out, std::string& problem) {
  if (name_or_path.find('/') != std::string::npos) {
    std::string text;
    return read_text(name_or_path, text, problem) && parse_profile(text, name_or_path, out, problem);
  }
  if (const auto text = built_in_text(name_or_path); !text.empty())
    return parse_profile(text, "profiles/" + name_or_path + ".card", out, problem);
  problem = "no card '" + name_or_path + "': expected a path with a slash, or one of";
  for (const BuiltIn& one : built_in) problem += " " + std::string(one.name);
  return false;
}

}  // namespace lull::sim
