// broker/cli/container_names.h: what people call a container. The broker knows containers by the kernel's word, as
// "docker:0123456789ab"; their names are asked of docker and podman here, with the rights of who looks.
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace lull::cli {

class ContainerNames {
 public:
  using Ask = std::function<std::string(const std::vector<std::string>& words)>;  // the program's output, or ""
  explicit ContainerNames(Ask ask) : ask_(std::move(ask)) {}
  ContainerNames();  // asks real engines, for two seconds at most

  // The container's name; of others, and of those whose name is not known, the tenant as it is.
  std::string operator()(const std::string& tenant);
  // Asks for names that were missed, if it has not just been done. True: there are new ones.
  bool learn(std::chrono::steady_clock::time_point now);

 private:
  Ask ask_;
  std::map<std::string, std::string> names_;  // by the first twelve digits of the id
  std::set<std::string> missed_;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace lull::cli
