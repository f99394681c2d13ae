// bpf/devices.cpp: who has a device node open, and who opens one.
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "bpf/kernel.h"

namespace lull {
namespace {

constexpr std::uint32_t number_of(const Device& d) {
  return d.major << LULL_MINOR_BITS | d.minor.value_or(LULL_ANY_MINOR);
}

bool matches(const std::vector<Device>& wanted, unsigned major, unsigned minor) {
  return std::any_of(wanted.begin(), wanted.end(),
                     [&](const Device& d) { return d.major == major && d.minor.value_or(minor) == minor; });
}

std::uint32_t number_in(const std::filesystem::path& name) {
  const auto text = name.filename().string();
  const bool digits = !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
  return digits ? static_cast<std::uint32_t>(std::stoul(text)) : 0;
}

void look_at(std::uint32_t pid, const std::vector<Device>& wanted, std::vector<DeviceOpen>& found) {
  std::error_code gone;  // processes and files go while they are looked at
  for (std::filesystem::directory_iterator file("/proc/" + std::to_string(pid) + "/fd", gone), end;
       !gone && file != end; file.increment(gone)) {
    struct stat status;
    if (::stat(file->path().c_str(), &status) != 0 || !S_ISCHR(status.st_mode)) continue;
    const unsigned major = gnu_dev_major(status.st_rdev), minor = gnu_dev_minor(status.st_rdev);
    if (matches(wanted, major, minor)) found.push_back({pid, major, minor, false, 0, "", 0});
  }
}

void look_everywhere(const std::vector<Device>& wanted, std::vector<DeviceOpen>& found) {
  std::error_code gone;
  for (std::filesystem::directory_iterator process("/proc", gone), end; !gone && process != end;
       process.increment(gone))
    if (const auto pid = number_in(process->path())) look_at(pid, wanted, found);
}

}  // namespace

bool Arrivals::watch_devices(const std::vector<Device>& wanted) {
  for_each_entry<std::uint32_t, std::uint8_t>(kernel_->maps.devices, [&](std::uint32_t number, std::uint8_t) {
    (void)bpf_map_delete_elem(kernel_->maps.devices, &number);
  });
  const std::uint8_t one = 1;
  for (const auto& device : wanted) {
    const auto number = number_of(device);
    (void)bpf_map_update_elem(kernel_->maps.devices, &number, &one, BPF_ANY);  // full: this one is not reported
  }
  // After the rules: what is opened in between is reported twice rather than not at all.
  if (kernel_->scanner == nullptr || !iterate_files(*kernel_, {LULL_SCAN_DEVICES, 0, 0, 0}, 0))
    look_everywhere(wanted, kernel_->found_open);
  return kernel_->sees_devices;
}

}  // namespace lull
