#include "bpf/cgroup_root.h"

#include <fcntl.h>
#include <mntent.h>
#include <sys/mount.h>

#include <cstdio>
#include <cstring>
#include <memory>

namespace lull {
namespace {

struct CloseMounts {
  void operator()(FILE* mounts) const { (void)::endmntent(mounts); }
};

Handle open_mounted_root() {
  const std::unique_ptr<FILE, CloseMounts> mounts(::setmntent("/proc/self/mounts", "re"));
  mntent entry;
  char text[4096];
  while (mounts && ::getmntent_r(mounts.get(), &entry, text, sizeof(text)) != nullptr)
    if (std::strcmp(entry.mnt_type, "cgroup2") == 0)
      return Handle(::open(entry.mnt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return Handle();
}

}  // namespace

Handle mount_cgroup_root() {
  const Handle context(::fsopen("cgroup2", FSOPEN_CLOEXEC));
  if (!context || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return Handle();
  return Handle(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
}

Handle open_cgroup_root() {
  Handle root = open_mounted_root();
  return root ? std::move(root) : mount_cgroup_root();
}

}  // namespace lull
