// broker/cli/containers.h: what a container needs to be under Lull, said once for every engine: three mounts, and
// nothing in its environment, because `docker exec` has the mounts and not the environment.
//
//   the class's socket directory   at /run/lull            the mount is the class; a directory, so that it outlives
//   lulld the library's directory        at /usr/lib/lull        a directory, so that a package upgrade reaches new
//   processes a file with the library's path at /etc/ld.so.preload   programs of musl ignore it
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lull::cli {

struct HostPaths {
  std::string runtime_dir, library_dir, preload_file;
};
HostPaths installed_paths(const std::string& runtime_dir);

struct Mount {
  std::string host, container;
  std::vector<const char*> options;
};
std::vector<Mount> shared_mounts(const HostPaths&);
Mount class_mount(const HostPaths&, const std::string& klass);

nlohmann::json cdi_spec(const HostPaths&);  // of the Container Device Interface
std::string docker_arguments(const HostPaths&, const std::string& klass);

}  // namespace lull::cli
