#include "tests/driver/memory/report.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "tests/driver/card/settings.h"
#include "tests/driver/code/module.h"
#include "tests/driver/journal/journal.h"
#include "tests/driver/memory/memory.h"
#include "tests/driver/registry.h"
#include "tests/driver/surface/entry.h"

namespace lull::sim {
namespace {

constexpr std::size_t most_remembered = 4096;

// What was freed, by its address; the address may be somebody else's by now. Guarded by Space::mutex.
std::map<std::uintptr_t, Gone>& freed() {
  static auto& all = *new std::map<std::uintptr_t, Gone>;
  return all;
}

std::string where() {
  const std::string_view name = function_name(current_function());
  return name.empty() ? "work of a stream" : std::string(name);
}

// Opened for each line: the program may close every descriptor it finds, and findings are rare.
void write_line(const std::string& line) {
  if (settings().report == "stderr") {
    (void)!::write(STDERR_FILENO, line.data(), line.size());
    return;
  }
  const int fd = ::open(settings().report.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  (void)!::write(fd, line.data(), line.size());
  (void)::close(fd);
}

}  // namespace

bool reporting() { return !settings().report.empty(); }

void report(std::string_view finding, std::uintptr_t address, std::size_t bytes) {
  if (!reporting()) return;
  char numbers[96];
  std::snprintf(numbers, sizeof numbers, ": 0x%llx, %zu bytes, pid %d\n", static_cast<unsigned long long>(address),
                bytes, ::getpid());
  write_line(where() + ": " + std::string(finding) + numbers);
}

void note_freed(std::uintptr_t base, std::size_t bytes) {
  if (!reporting()) return;
  static std::uint64_t order = 0;
  freed()[base] = {bytes, ++order};
  if (freed().size() <= most_remembered) return;
  freed().erase(std::ranges::min_element(freed(), {}, [](const auto& entry) { return entry.second.order; }));
}

void report_bad_free(std::uintptr_t base) {
  if (!reporting()) return;
  const auto before = freed().find(base);
  if (before != freed().end()) return report("freed twice", base, before->second.bytes);
  report("freed, and no allocation starts there", base, 0);
}

void report_bad_unmap(std::uintptr_t base, std::size_t bytes) {
  if (!reporting()) return;
  Space& all = space();
  const auto next = all.mapped.lower_bound(base);
  const bool some = Space::containing(all.mapped, base) != all.mapped.end() ||
                    (next != all.mapped.end() && next->first < base + bytes);
  report(some ? "unmapped in part" : "unmapped, and nothing is mapped there", base, bytes);
}

void report_touch(std::uintptr_t address, std::size_t bytes) {
  if (!reporting()) return;
  Space& all = space();
  const std::scoped_lock lock(all.mutex);
  const auto own = Space::containing(all.allocations, address);
  if (own != all.allocations.end()) return report("used beyond the end of an allocation", address, bytes);
  const auto before = Space::containing(freed(), address);
  if (before != freed().end()) return report("used after it was freed", address, bytes);
  const auto reserved = Space::containing(all.reservations, address);
  if (reserved != all.reservations.end() && reserved->second.holds == Holds::program)
    return report("used while nothing is mapped there, or without access", address, bytes);
  report("used, and no device has memory there", address, bytes);
}

void report_leaks(const Context& context, bool last) {
  if (!reporting()) return;
  const Space& all = space();
  for (const auto& [base, allocation] : all.allocations) {
    const bool own = allocation.context == &context && allocation.kind != AllocationKind::code;
    const bool pooled = last && !allocation.context && allocation.kind == AllocationKind::pool;
    if (own) report("not freed when its context ended", base, allocation.bytes);
    if (pooled) report("pool memory not freed when the last context ended", base, allocation.bytes);
  }
  for (const auto& module : registry<CodeModule>().all()) {
    if (module->context() == &context)
      report("module not unloaded when its context ended", reinterpret_cast<std::uintptr_t>(module.get()), 0);
  }
  for (const auto& stream : context.streams()) {
    if (registry<Stream>().find(stream.get()))
      report("stream not destroyed when its context ended", reinterpret_cast<std::uintptr_t>(stream.get()), 0);
  }
  if (!last) return;
  for (const auto& [handle, physical] : all.handles)
    report("handle not released when the last context ended", handle, physical->bytes);
  for (const auto& [base, reservation] : all.reservations) {
    if (reservation.holds == Holds::program)
      report("address not freed when the last context ended", base, reservation.bytes);
  }
}

}  // namespace lull::sim
