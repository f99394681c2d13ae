#include "shim/environment.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "shim/gate.h"
#include "shim/log.h"
#include "shim/signals.h"

// Weak: only glibc has it. With another C library there is no driver to manage, and types differ.
extern "C" [[gnu::weak]] const char* gnu_get_libc_version();

namespace lull {
namespace {

const char* get(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

bool exists(const char* path) { return ::access(path, F_OK) == 0; }

// Tools that sit below us or need the driver as it is.
const char* foreign_tool() {
  for (const char* name :
       {"CUDA_INJECTION64_PATH", "NVTX_INJECTION64_PATH", "CUDA_LAUNCH_BLOCKING", "CUDA_MPS_PIPE_DIRECTORY"})
    if (get(name)) return name;
  return nullptr;
}

// The class a mounted directory stands for; its file `class` says so.
std::optional<Class> mounted_class(const char* directory) {
  char path[128], text[16] = "";
  std::snprintf(path, sizeof path, "%s/class", directory);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  const auto size = ::read(fd, text, sizeof text - 1);
  (void)::close(fd);
  if (size <= 0) return std::nullopt;
  text[std::strcspn(text, "\n")] = 0;
  return parse_class(text);
}

void set_paths(Environment& e, const char* directory) {
  std::snprintf(e.socket_path, sizeof e.socket_path, "%s/broker", directory);
  std::snprintf(e.sizes_path, sizeof e.sizes_path, "%s/gpus", directory);
}

void choose_class(Environment& e) {
  const char* runtime = get("LULL_RUNTIME_DIR");
  if (!runtime) runtime = "/run/lull";
  const char* asked = get("LULL_CLASS");
  if (const auto mounted = mounted_class(runtime)) {  // the mount wins: a container's owner decided it
    e.klass = *mounted;
    set_paths(e, runtime);
    e.opted_in = true;
    return;
  }
  if (!asked) return void(e.why_inert = "LULL_CLASS is not set and no class directory is mounted");
  const auto klass = parse_class(asked);
  if (!klass) return void(e.why_inert = "LULL_CLASS is not training, interactive or inference");
  char directory[80];
  if (std::snprintf(directory, sizeof directory, "%s/%s/socket", runtime, asked) >= static_cast<int>(sizeof directory))
    return void(e.why_inert = "LULL_RUNTIME_DIR is too long");
  e.klass = *klass;
  set_paths(e, directory);
  e.opted_in = true;
}

// The program may go to another directory before the report is written.
void set_report(Environment& e, const char* path) {
  char here[PATH_MAX] = "";
  const bool relative = path[0] != '/' && ::getcwd(here, sizeof here);
  const int size = std::snprintf(e.report, sizeof e.report, "%s%s%s", relative ? here : "", relative ? "/" : "", path);
  if (size >= static_cast<int>(sizeof e.report)) e.report[0] = 0;  // too long: standard error
}

// Reading further stops here: a program that observes is not managed, whatever it would have been.
void observe(Environment& e) {
  e.observe = true;
  e.why_inert = "LULL=observe";
  if (const char* tool = foreign_tool())
    e.obstacle = tool;
  else if (exists("/dev/dxg"))
    e.obstacle = "WSL2 is not supported";
  if (const char* report = get("LULL_OBSERVE_REPORT")) set_report(e, report);
}

std::optional<Hashing> hashing() {
  const char* asked = get("LULL_HASH");
  if (!asked || std::strcmp(asked, "on") == 0) return Hashing::on;
  if (std::strcmp(asked, "off") == 0) return Hashing::off;
  if (std::strcmp(asked, "compare") == 0) return Hashing::compare;
  return std::nullopt;
}

Environment read() {
  Environment e;
  if (::getauxval(AT_SECURE)) {
    e.why_inert = "secure execution";
    return e;
  }
  e.log = get("LULL_LOG") != nullptr;
  const char* mode = get("LULL");
  const char* native = get("LULL_IPC");
  const char* world = get("WORLD_SIZE");
  e.hashing = hashing().value_or(Hashing::on);
  e.native = native && std::strcmp(native, "native") == 0;
  e.gang = world && std::atoi(world) > 1;
  if (const char* tenant = get("LULL_TENANT")) std::snprintf(e.tenant, sizeof e.tenant, "%s", tenant);
  if (mode && std::strcmp(mode, "off") == 0) {
    e.why_inert = "LULL=off";
  } else if (!&gnu_get_libc_version) {
    e.why_inert = "the C library is not glibc";
  } else if (mode && std::strcmp(mode, "observe") == 0) {
    observe(e);
  } else if (const char* tool = foreign_tool()) {
    e.why_inert = tool;
  } else if (exists("/dev/dxg")) {
    e.why_inert = "WSL2 is not supported";
  } else {
    choose_class(e);
  }
  return e;
}

Environment the_environment;
std::atomic<int> read_state{0};  // 0 not read, 1 being read, 2 read

}  // namespace

const Environment& environment() {
  if (read_state.load(std::memory_order_acquire) == 2) [[likely]]
    return the_environment;
  static const Environment nothing;
  const SignalsBlocked together;
  int unread = 0;
  if (!read_state.compare_exchange_strong(unread, 1)) {
    // Another thread reads right now: a few microseconds. After a fork in that moment, nobody would ever finish it.
    for (int i = 0; i < 10000 && read_state.load(std::memory_order_acquire) != 2; ++i) ::usleep(10);
    return read_state.load(std::memory_order_acquire) == 2 ? the_environment : nothing;
  }
  the_environment = read();
  read_state.store(2, std::memory_order_release);
  if (the_environment.log && !the_environment.opted_in) log::line("inert: %s", the_environment.why_inert);
  if (the_environment.opted_in && !hashing()) log::line("LULL_HASH is on, off or compare; taken as on");
  return the_environment;
}

void declare_unmanaged(const char* why) {
  (void)environment();
  log::line("unmanaged from now on: %s", why);
  gate::abandon();
}

}  // namespace lull
