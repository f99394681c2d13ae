#include "broker/cli/containers.h"

#include <fmt/format.h>

#include <filesystem>

#include "protocol/words.h"

namespace lull::cli {
namespace {

using nlohmann::json;

json cdi_mounts(const std::vector<Mount>& mounts) {
  json all = json::array();
  for (const auto& m : mounts)
    all.push_back({{"hostPath", m.host}, {"containerPath", m.container}, {"options", m.options}});
  return {{"mounts", all}};
}

bool read_only(const Mount& mount) {
  for (const auto* option : mount.options)
    if (std::string_view(option) == "ro") return true;
  return false;
}

}  // namespace

HostPaths installed_paths(const std::string& runtime_dir) {
  return {runtime_dir, std::filesystem::path(LULL_INSTALLED_LIBRARY).parent_path().string(),
          std::string(LULL_DATA_DIR) + "/ld.so.preload"};
}

std::vector<Mount> shared_mounts(const HostPaths& paths) {
  return {// code is mapped from there: never noexec
          {paths.library_dir, "/usr/lib/lull", {"bind", "ro", "nosuid", "nodev"}},
          {paths.preload_file, "/etc/ld.so.preload", {"bind", "ro", "nosuid", "nodev", "noexec"}}};
}

// Not read-only: an engine inside the container must be able to mount it again.
Mount class_mount(const HostPaths& paths, const std::string& klass) {
  return {
      fmt::format("{}/{}/socket", paths.runtime_dir, klass), "/run/lull", {"bind", "rw", "nosuid", "nodev", "noexec"}};
}

json cdi_spec(const HostPaths& paths) {
  json devices = json::array();
  for (const auto klass : all_classes)
    devices.push_back({{"name", name_of(klass)}, {"containerEdits", cdi_mounts({class_mount(paths, name_of(klass))})}});
  return {{"cdiVersion", "0.3.0"},  // the oldest that has all of this
          {"kind", "lull.dev/gpu"},
          {"devices", devices},
          {"containerEdits", cdi_mounts(shared_mounts(paths))}};
}

std::string docker_arguments(const HostPaths& paths, const std::string& klass) {
  auto mounts = shared_mounts(paths);
  mounts.insert(mounts.begin(), class_mount(paths, klass));
  std::string all;
  for (const auto& m : mounts)
    all += fmt::format("{}-v {}:{}{}", all.empty() ? "" : " ", m.host, m.container, read_only(m) ? ":ro" : "");
  return all;
}

}  // namespace lull::cli
