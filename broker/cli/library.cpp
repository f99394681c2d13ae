#include "broker/cli/library.h"

#include <unistd.h>

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

}  // namespace lull::cli
