#include "broker/cli/library.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

namespace lull::cli {

namespace fs = std::filesystem;

std::optional<std::string> find_library(std::string& tried) {
  std::error_code ignored;
  std::vector<std::string> places;
  if (const char* chosen = std::getenv("LULL_LIBRARY"); chosen && *chosen) {
    places = {fs::absolute(chosen, ignored).string()};
  } else {
    const auto self = fs::read_symlink("/proc/self/exe", ignored);
    places = {(self.parent_path().parent_path() / "shim" / "liblull.so").string(), LULL_INSTALLED_LIBRARY};
  }
  for (const auto& place : places) {
    if (::access(place.c_str(), R_OK) == 0) return place;
    tried += (tried.empty() ? "" : " and ") + place;
  }
  return std::nullopt;
}

std::string wrong_with_path(const std::string& library) {
  if (library.find_first_of(" :") == std::string::npos) return {};
  return fmt::format(
      "the loader cannot preload \"{}\": its path holds a space or a colon; name another with LULL_LIBRARY", library);
}

void preload(const std::string& library) {
  const char* before = std::getenv("LD_PRELOAD");
  std::string all = library;
  if (before && *before) {
    const std::string list = before;
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find_first_of(" :", at), list.size());
      if (end > at && list.substr(at, end - at) != library) all += ":" + list.substr(at, end - at);
      at = end + 1;
    }
  }
  (void)::setenv("LD_PRELOAD", all.c_str(), 1);  // fails only without memory, and then so does exec
}

}  // namespace lull::cli
