// The account that LULL=observe keeps, in words: on standard error when the program ends, or in LULL_OBSERVE_REPORT,
// where it is brought up to date as the program goes, because not every end can be seen from here.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <unistd.h>
#include <csignal>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "shim/environment.h"
#include "shim/observe.h"
#include "shim/rows.h"

namespace lull::observe {
namespace {

class Text {
 public:
  Text(char* buffer, std::size_t room) : text_(buffer), room_(room) { text_[0] = 0; }
  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    const int more = std::vsnprintf(text_ + size_, room_ - size_, format, arguments);
    va_end(arguments);
    if (more > 0)
      size_ += static_cast<std::size_t>(more) < room_ - size_ ? static_cast<std::size_t>(more) : room_ - size_ - 1;
  }
  const char* data() const { return text_; }
  std::size_t size() const { return size_; }

 private:
  char* text_;
  std::size_t room_, size_ = 0;
};

using Number = unsigned long long;

struct Named {
  Kind kind;
  const char* name;
  const char* remark;
};
constexpr Named movable[] = {{Kind::allocated, "cuMemAlloc, cuMemAllocPitch", ""},
                             {Kind::own_virtual, "cuMemCreate, while mapped", ""},
                             {Kind::managed, "managed", ""}};
constexpr Named fixed[] = {
    {Kind::pool, "pools, in stream order", ""},
    {Kind::array, "arrays", ""},
    {Kind::graph, "graphs' allocation nodes", ", all nodes made"},
    {Kind::exported, "exported", ", pinned from then on"},
    {Kind::ipc, "legacy IPC handles", ": refused unless LULL_IPC=native, which makes cuMemAlloc immovable"},
    {Kind::imported, "imported", ""},
    {Kind::multicast, "bound to multicast", ", pinned from then on"},
    {Kind::narrow, "functions of before CUDA 3.2", ""},
};
constexpr Named of_host[] = {{Kind::host, "allocated", ""}, {Kind::registered, "registered", ""}};

void add_bytes(Text& text, std::uint64_t bytes) {
  if (bytes == 0) return;
  if (bytes < 1 << 20)
    text.add(", at most %llu KiB at once", static_cast<Number>((bytes + 1023) >> 10));
  else
    text.add(", at most %llu MiB at once", static_cast<Number>((bytes + (1 << 20) - 1) >> 20));
}

template <std::size_t count>
void add_memory(Text& text, const char* title, const Totals& totals, const Named (&named)[count]) {
  text.add("  %s\n", title);
  bool any = false;
  for (const Named& one : named) {
    const Sum& sum = totals.sums[static_cast<unsigned>(one.kind)];
    if (sum.count == 0) continue;
    any = true;
    text.add("    %-28s %llu made", one.name, static_cast<Number>(sum.count));
    add_bytes(text, sum.peak);
    text.add("%s\n", one.remark);
  }
  if (!any) text.add("    none\n");
}

// Whether an object asks the loader for the driver by name.
bool is_linked(const dl_phdr_info& object) {
  const ElfW(Dyn)* dynamic = nullptr;
  for (unsigned i = 0; i < object.dlpi_phnum; ++i)
    if (object.dlpi_phdr[i].p_type == PT_DYNAMIC)
      dynamic = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
  if (!dynamic) return false;
  ElfW(Addr) strings = 0;
  for (const ElfW(Dyn)* entry = dynamic; entry->d_tag != DT_NULL; ++entry)
    if (entry->d_tag == DT_STRTAB) strings = entry->d_un.d_ptr;
  if (strings && strings < object.dlpi_addr) strings += object.dlpi_addr;  // as in next.cpp
  for (const ElfW(Dyn)* entry = dynamic; strings && entry->d_tag != DT_NULL; ++entry)
    if (entry->d_tag == DT_NEEDED &&
        std::strcmp(reinterpret_cast<const char*>(strings + entry->d_un.d_val), "libcuda.so.1") == 0)
      return true;
  return false;
}

int add_linked(dl_phdr_info* object, std::size_t, void* argument) {
  if (!is_linked(*object)) return 0;
  const char* slash = std::strrchr(object->dlpi_name, '/');
  const char* name = object->dlpi_name[0] ? object->dlpi_name : "the program itself";
  static_cast<Text*>(argument)->add("    linked with the driver: %s\n", slash ? slash + 1 : name);
  return 0;
}

void add_routes(Text& text, const Totals& totals) {
  const auto came = [&](Route route) { return static_cast<Number>(totals.routes[static_cast<unsigned>(route)]); };
  text.add("  ways to the driver\n");
  (void)::dl_iterate_phdr(add_linked, &text);
  if (came(Route::dlsym)) text.add("    dlsym: %llu look-ups\n", came(Route::dlsym));
  if (came(Route::proc_address)) text.add("    cuGetProcAddress: %llu look-ups\n", came(Route::proc_address));
  if (came(Route::private_table))
    text.add("    private tables: %llu asked for, as NVIDIA's runtime does; calls through them are not seen\n",
             came(Route::private_table));
  if (came(Route::deep_bind))
    text.add("    RTLD_DEEPBIND: %llu libraries; their calls are not in this report, but Lull would see them\n",
             came(Route::deep_bind));
  if (came(Route::other_namespace))
    text.add("    dlmopen: %llu times in a namespace of its own: Lull would not manage this program\n",
             came(Route::other_namespace));
  text.add("  functions Lull does not know: ");
  for (const char* name = totals.unknown[0]; name < totals.unknown[0] + sizeof totals.unknown && *name;
       name += name_bytes)
    text.add("%s ", name);
  text.add(totals.unknown[0][0] ? "\n" : "none\n");
}

void add_gated(Text& text) {
  text.add("  calls Lull would hold back while the program is paused\n");
  bool any = false;
  for (unsigned row = 0; row < row_count(); ++row) {
    if (!row_at(row).gated || calls(row) == 0) continue;
    any = true;
    text.add("    %-28s %llu\n", row_at(row).symbol, static_cast<Number>(calls(row)));
  }
  if (!any) text.add("    none\n");
}

void write_report(Text& text, bool at_end) {
  static Totals totals;  // the caller has the report's lock; a small thread's stack has no room for it
  read(totals);
  text.add("lull: what process %d did with the GPU%s\n", ::getpid(),
           at_end ? "" : " (before its end, which was not seen)");
  const char* obstacle = environment().obstacle;
  if (*obstacle) text.add("  Lull would leave it alone: %s\n", obstacle);
  add_memory(text, "memory Lull would move", totals, movable);
  add_memory(text, "memory that would stay on the card", totals, fixed);
  text.add("    %-28s %llu, and %llu modules loaded: how much they take, only the driver knows\n", "contexts",
           static_cast<Number>(totals.contexts), static_cast<Number>(totals.modules));
  add_memory(text, "page-locked memory of the host, which Lull leaves alone", totals, of_host);
  add_gated(text);
  add_routes(text, totals);
}

// The name of the file, %p being the process.
void expand(char* path, std::size_t room, const char* pattern) {
  std::size_t size = 0;
  for (; *pattern && size + 12 < room; ++pattern)
    if (pattern[0] == '%' && pattern[1] == 'p')
      size += static_cast<std::size_t>(std::snprintf(path + size, room - size, "%d", ::getpid())), ++pattern;
    else
      path[size++] = *pattern;
  path[size] = 0;
}

void to_file(const Text& text) {
  static char path[sizeof environment().report + 16];  // under the report's lock
  expand(path, sizeof path, environment().report);
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
  if (fd < 0) return;
  if (::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()))
    (void)!::ftruncate(fd, static_cast<off_t>(text.size()));
  (void)::close(fd);
}

// Nobody may read standard error any more, or not now: neither may change how the program ends.
void to_stderr(const Text& text) {
  sigset_t broken_pipe, before, pending;
  sigemptyset(&broken_pipe);
  sigaddset(&broken_pipe, SIGPIPE);
  const bool was_pending = ::sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
  if (::sigprocmask(SIG_BLOCK, &broken_pipe, &before) != 0) return;
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 1000) == 1) (void)!::write(STDERR_FILENO, text.data(), text.size());
  const timespec now{0, 0};
  if (!was_pending) (void)::sigtimedwait(&broken_pipe, nullptr, &now);
  (void)::sigprocmask(SIG_SETMASK, &before, nullptr);
}

// At the end of exit(), after the program's own handlers.
[[gnu::destructor]] void at_exit() { report_now(true); }

}  // namespace

void report_now(bool at_end) {
  if (!used() || (!at_end && !environment().report[0])) return;
  Scratch* scratch = report_scratch();
  for (unsigned i = 0; !scratch->mutex.try_lock(); ++i) {  // another thread writes; it may have died with exit()
    if (!at_end || i == 1000) return;
    const timespec pause{0, 1'000'000};
    (void)::nanosleep(&pause, nullptr);
  }
  const int saved = errno;
  Text text(scratch->text, sizeof scratch->text);
  write_report(text, at_end);
  if (environment().report[0])
    to_file(text);
  else
    to_stderr(text);
  errno = saved;
  scratch->mutex.unlock();
}

}  // namespace lull::observe
