#include "shim/gate.h"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <csignal>

#include "shim/environment.h"
#include "shim/flight.h"
#include "shim/futex.h"
#include "shim/gil.h"
#include "shim/handlers.h"
#include "shim/leaving.h"
#include "shim/log.h"
#include "shim/process.h"
#include "shim/protection.h"
#include "shim/timed.h"

namespace lull::gate {
namespace {

constexpr unsigned max_threads = 1 << 16;

const std::atomic<std::uint32_t> dormant{0};
const Word unmanaged{0};

std::atomic<std::uint32_t>* writable_word = nullptr;
Entry* entries = nullptr;
std::atomic<unsigned> entry_count{0};
std::atomic<bool> abandoned{false};
std::atomic<std::uint64_t> late{0};

std::int32_t thread_id() { return static_cast<std::int32_t>(::syscall(SYS_gettid)); }

bool thread_alive(std::int32_t thread) {
  const int saved = errno;
  const bool gone = ::syscall(SYS_tgkill, ::getpid(), thread, 0) != 0 && errno == ESRCH;
  errno = saved;
  return !gone;
}

bool claim(Entry& entry, std::int32_t from, std::int32_t to) { return entry.thread.compare_exchange_strong(from, to); }

// A free word, or one whose thread has died. The search for dead threads costs a system call each, so it is made only
// when the words in use have doubled since the last one would have paid.
Entry* find_entry(std::int32_t self) {
  const unsigned count = entry_count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < count; ++i)
    if (entries[i].thread.load(std::memory_order_relaxed) == self || claim(entries[i], 0, self)) return &entries[i];
  if (count >= 64 && (count & (count - 1)) == 0)
    for (unsigned i = 0; i < count; ++i) {
      const auto owner = entries[i].thread.load(std::memory_order_relaxed);
      if (!thread_alive(owner) && claim(entries[i], owner, self)) return &entries[i];
    }
  const unsigned mine = entry_count.fetch_add(1, std::memory_order_acq_rel);
  if (mine >= max_threads) {
    entry_count.store(max_threads, std::memory_order_release);
    return nullptr;
  }
  entries[mine].thread.store(self, std::memory_order_release);
  return &entries[mine];
}

// The first GPU whose gate is closed, or nothing.
std::optional<unsigned> closed_slot() {
  for (unsigned slot = 0; slot < max_gpus; ++slot)
    if (process::attached(slot) && closed(process::down().gpu[slot].gate.load(std::memory_order_acquire))) return slot;
  return std::nullopt;
}

// One closing of one gate by one broker; generations begin anew with each broker.
struct Closed {
  std::uint32_t session = 0;
  unsigned slot = 0;
  std::uint64_t word = 0;
  bool operator==(const Closed&) const = default;
};

Closed closing_of(unsigned slot) {
  return {process::session(), slot, process::down().gpu[slot].gate.load(std::memory_order_acquire)};
}

// True: this thread is leaving, has waited long enough, and nothing is being taken away. It is marked as inside.
bool pass_late() {
  if (!on(Protection::brief_end) || leaving::patient()) return false;
  late.fetch_add(1, std::memory_order_seq_cst);
  return (private_word->load(std::memory_order_seq_cst) & hold) == 0;
}

}  // namespace

const std::atomic<std::uint32_t>* private_word = &dormant;
const Word* gate_word = &unmanaged;
constinit Entry stranger{~std::uintptr_t{0}, 0, 0, 0, 0, 0, false, 0, nullptr};
__thread Entry* my_entry = &stranger;

bool prepare(const Word* first_gate) {
  void* page = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* array = ::mmap(nullptr, sizeof(Entry) * max_threads, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (page == MAP_FAILED || array == MAP_FAILED) return false;
  // A child must find zero: before 4.14, inert
  if (on(Protection::fork_wipe) && ::madvise(page, page_bytes, MADV_WIPEONFORK) != 0) return false;
  entries = static_cast<Entry*>(array);
  writable_word = static_cast<std::atomic<std::uint32_t>*>(page);
  std::uint32_t word = active;
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0) word |= look_closer;
  gate_word = first_gate;
  writable_word->store(word, std::memory_order_release);
  __atomic_store_n(&private_word, writable_word, __ATOMIC_RELEASE);
  return true;
}

void set(Private bits) { writable_word->fetch_or(bits, std::memory_order_seq_cst); }

void clear(Private bits) {
  if (writable_word->fetch_and(~bits, std::memory_order_seq_cst) & bits)
    futex::wake_all(*writable_word, futex::Scope::process);
}

bool holds() { return (private_word->load(std::memory_order_acquire) & hold) != 0; }

void abandon() {
  abandoned.store(true);
  if (!writable_word) return;
  // A hold stays: it says that memory is missing, and that is true whoever is in charge.
  process::release_gates();
}

bool is_abandoned() { return abandoned.load(std::memory_order_acquire); }

void barrier() { (void)::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); }

bool all_outside() {
  if (!on(Protection::entry_words)) return true;
  const unsigned count = entry_count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < count && i < max_threads; ++i) {
    if (entries[i].inside.load(std::memory_order_acquire) == 0) continue;
    const auto owner = entries[i].thread.load(std::memory_order_acquire);
    if (owner && thread_alive(owner)) return false;
    entries[i].inside.store(0, std::memory_order_relaxed);  // the thread died inside; nobody else writes the word now
  }
  return true;
}

std::uint64_t late_passes() { return late.load(std::memory_order_seq_cst); }

// A thread that never ends its change (a signal handler took it elsewhere) is read as it is.
std::uint64_t submissions_of(const Entry& entry) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = entry.grants.load();
    const std::uint64_t made = entry.submissions();
    if (before % 2 == 0 && entry.grants.load() == before) return made;
  }
  return entry.submissions();
}

std::uint64_t submissions() {
  std::uint64_t sum = 0;
  const unsigned count = entry_count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < count && i < max_threads; ++i) sum += submissions_of(entries[i]);
  return sum;
}

std::optional<std::uint64_t> settled_submissions() {
#if defined(__x86_64__)  // elsewhere a count may be seen before the entry word that was marked before it
  const unsigned count = entry_count.load(std::memory_order_acquire);
  if (count > 64) return std::nullopt;
  const std::uint64_t counted = submissions();
  for (unsigned i = 0; i < count; ++i)
    if (entries[i].inside.load(std::memory_order_acquire) != 0) return std::nullopt;
  return counted;
#else
  return std::nullopt;
#endif
}

void grant(Entry& mine, std::int64_t credit) {
  const std::uint32_t changing = mine.grants.load() | 1;
  mine.grants.store(changing);
  const std::int64_t left = mine.credit.exchange(credit);  // after the mover's, or taken back by it
  mine.granted.fetch_add(credit - left);
  mine.grants.store(changing + 1);
}

bool take_credit_back() {
  if (!(private_word->load(std::memory_order_acquire) & recall)) set(recall);
  barrier();
  bool all = true;
  const unsigned count = entry_count.load(std::memory_order_acquire);
  for (unsigned i = 0; i < count && i < max_threads; ++i) {
    Entry& entry = entries[i];
    const std::int64_t credit = entry.credit.load();
    if (credit <= 0) continue;
    const auto owner = entry.thread.load(std::memory_order_acquire);
    if (entry.inside.load(std::memory_order_acquire) != 0 && owner && thread_alive(owner)) {
      all = all && credit <= most_credit;  // perhaps counting right now
      continue;
    }
    entry.granted.fetch_sub(entry.credit.exchange(0));
  }
  if (all) clear(recall);
  return all;
}

Entry* Pass::first_entry() {
  if (abandoned.load(std::memory_order_relaxed)) return nullptr;
  if (!active_now() && !process::activate()) return nullptr;
  process::note_current_context();
  Entry* const mine = find_entry(thread_id());
  if (mine) {
    my_entry = mine;
    leaving::watch_thread();
  } else {
    declare_unmanaged("more threads than there are entry words");
  }
  return mine;
}

bool Pass::look(Entry& entry, const Submission& what) { return flight::look(entry, what); }
void Pass::mark(Entry& entry, const Submission& what) { flight::mark(entry, what); }

void Pass::wait(CUstream stream, std::uintptr_t here) {
  bool told = false, met_closed_gate = false, signalled = false, leaves = false;
  Closed told_of{};  // the closing the broker was told of
  GilRelease gil;    // gives the interpreter's lock up while this thread waits, if it holds it
  for (;;) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // between the entry word and what follows
    const std::uint32_t wake = process::down().wake.load(std::memory_order_acquire);
    const auto slot = closed_slot();                                           // first the gates,
    const std::uint32_t seen = private_word->load(std::memory_order_acquire);  // then the hold
    if (seen == 0) break;                                                      // a forked child
    if (!slot && !(seen & hold)) break;
    if (slot && !(seen & hold) && timed::may_pass(*slot, closing_of(*slot).word)) break;
    if (slot && leaves && !(seen & hold) && pass_late()) break;
    if (capture::capturing(stream)) return;  // executes nothing; blocking inside a capture would break the program
    entry_->inside.store(outer_, std::memory_order_release);
    // Again for each closing: a thread held back by missing memory may then meet a closed gate, or meet another one.
    const Closed closing = slot ? closing_of(*slot) : Closed{};
    if (!told || (slot && closing != told_of)) process::tell_wants(slot);
    if (slot) met_closed_gate = true;
    if (slot) told_of = closing;
    told = true;
    if (slot && !leaves && leaving::now()) {
      process::tell_leaving(*slot);
      leaves = true;
    }
    if (slot && signalled) {  // perhaps a moment ago, while this thread waited for memory behind an open gate
      process::tell_interrupted(*slot);
      signalled = false;
    }
    gil.release();
    const auto woken = slot ? futex::wait(process::down().wake, wake, recheck_ns, futex::Scope::shared)
                            : futex::wait(*private_word, seen, recheck_ns, futex::Scope::process);
    if (woken == futex::Woken::signal) signalled = true;
    entry_->inside.store(here, std::memory_order_relaxed);
  }
  if (told) process::tell_passed(met_closed_gate);
}

}  // namespace lull::gate
