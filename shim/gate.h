// shim/gate.h: the only place where a thread of the host waits.
//
// Every call that submits GPU work makes a Pass on its way to the driver:
//
//   1. mark this thread as inside (its entry word holds the frame's address)
//   2. load the gate word                           set by the broker
//   3. load the private word: active, hold          set by the mover and the ledger
//   4. anything but "active, no hold, gate not closed": step back out, wait in wait(), begin again
//   5. the driver call; then mark the thread as out
//
// The order of 2 and 3 matters: the mover sets the hold and then sees the gate still closed before it unmaps anything;
// who finds the gate open has come later, and finds the hold.
//
// Steps 1 and 2-3 are ordered by the other side: whoever closes (the mover, before it looks at entry words) issues a
// membarrier, so the fast path needs no fence. Entry words live in an array that is never freed: a thread may die or
// longjmp out of a driver call; a word whose frame is gone is recognised by its address, one whose thread is gone by
// its thread id. Where membarrier is missing, the private word asks for the slow path, which has the fence.
//
// The private word lies in a page that a forked child finds zeroed, and zero means: pass, this process is not ours.
//
// A submission costs its thread one of its credit. Where work in flight is bounded (flight.h) credit is small, and who
// has none left takes the slow path, which looks at what is queued. Where it is not, credit is endless; when a bound
// comes up, the mover takes such credit back, with the same proof by which a drain finds threads outside:
//
//   mover:   set `recall`;  barrier;  whoever is outside now finds `recall` on his way in:  take his credit
//   thread:  mark inside;  load the private word;  only if there is no `recall`: count down, which is not atomic
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>

#include "protocol/page.h"
#include "shim/real.h"

namespace lull::flight {
struct Lane;
}

namespace lull::gate {

enum Private : std::uint32_t {
  active = 1,       // this process is managed or could be; 0 in a forked child and in a dormant process
  hold = 2,         // memory is missing: nothing may be submitted, whatever the gate says
  look_closer = 4,  // several GPUs, or no membarrier: decide on the slow path
  recall = 8,       // credit is being taken back: count on the slow path
  tight = 16,       // the card is nearly full: submit on the slow path, which can do so again (room.h)
};

inline constexpr std::int64_t endless = std::int64_t{1} << 62;
inline constexpr std::int64_t most_credit = 1024;  // that is not endless

struct alignas(64) Entry {
  std::atomic<std::uintptr_t> inside;  // address of the frame that is in a driver call; 0: out
  std::atomic<std::int64_t> credit;    // submissions its thread may make before it looks at what is queued
  std::atomic<std::int64_t> granted;   // credit in all, so that submissions = granted - credit
  std::atomic<std::int32_t> thread;    // owner's thread id; 0: free
  std::atomic<std::uint32_t> grants;   // odd while its thread changes both
  std::uint64_t accounted;             // submissions that flight.cpp has taken note of; its thread's alone
  bool uncounted;                      // those since then were made with endless credit; its thread's alone
  std::uint32_t lane_serial;           // of the lane of its last look; its thread's alone
  flight::Lane* lane;

  std::uint64_t submissions() const { return static_cast<std::uint64_t>(granted.load() - credit.load()); }
};

// One call that submits: where to, and how much.
struct Submission {
  CUstream stream = nullptr;
  bool names_stream = false;  // it goes into that stream; else it waits for its own end, or submits nothing that lasts
  unsigned units = 1;         // what it weighs: a graph as much as it contains
};

// Constant after the first activation; before it they point to words that read "dormant" and "unmanaged".
// Hidden, so that the fast path reaches them without the global offset table.
[[gnu::visibility("hidden")]] extern const std::atomic<std::uint32_t>* private_word;
[[gnu::visibility("hidden")]] extern const Word* gate_word;  // of the first GPU attached
// This thread's entry; before its first call `stranger`, which never reads "outside", so the fast path needs one check.
[[gnu::visibility("hidden")]] extern Entry stranger;
extern __thread Entry* my_entry;

// Whether the calling thread is in a call that has passed the gate.
inline bool inside() { return my_entry != &stranger && my_entry->inside.load(std::memory_order_relaxed) != 0; }
inline bool active_now() { return private_word->load(std::memory_order_acquire) != 0; }
inline bool closed(std::uint64_t word) { return (word & 3) == static_cast<std::uint64_t>(GateState::closed); }

class Pass {
 public:
  explicit Pass(const Submission& what) {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    Entry* entry = my_entry;
    if (entry == &stranger) [[unlikely]] {
      entry = first_entry();
      if (!entry) return;
    }
    // The stack grows down: a live outer call's frame lies above this one. Anything else was left by longjmp.
    const std::uintptr_t old = entry->inside.load(std::memory_order_relaxed);
    outer_ = old > here ? old : 0;
    const bool marks = !outer_ && must_look(*entry, what) && look(*entry, what);  // may wait a little, outside
    entry->inside.store(here, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // the mover's membarrier makes this a full fence when needed
    entry_ = entry;
    if (closed(gate_word->load(std::memory_order_acquire)) ||
        (private_word->load(std::memory_order_acquire) & ~std::uint32_t{tight}) != active) [[unlikely]]
      wait(what.stream, here);
    if (marks) mark(*entry, what);
    entry->credit.fetch_sub(1, std::memory_order_relaxed);  // the mover may be taking it back
  }
  explicit Pass(CUstream stream) : Pass(Submission{stream}) {}
  ~Pass() {
    if (entry_) entry_->inside.store(outer_, std::memory_order_release);  // seen by all_outside()
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

 private:
  static Entry* first_entry();  // null: this call passes ungated
  static bool must_look(const Entry& entry, const Submission& what) {
    const std::uint32_t word = private_word->load(std::memory_order_acquire);
    return word && (entry.credit.load(std::memory_order_relaxed) <= 0 || what.units > 1 || (word & recall));
  }
  static bool look(Entry& entry, const Submission& what);  // true: mark() is to be called
  static void mark(Entry& entry, const Submission& what);
  void wait(CUstream stream, std::uintptr_t here);

  Entry* entry_ = nullptr;
  std::uintptr_t outer_ = 0;
};

// The other side.

// Prepares the words and the entries; called once, by activation. False: no memory, stay inert.
bool prepare(const Word* first_gate);
void set(Private bits);
void clear(Private bits);  // wakes whoever waits for it
bool holds();
void abandon();  // never gate again: the process turned out to be one the shim cannot follow
bool is_abandoned();

// How often a thread at its end has passed a closed gate. Whoever has proven that nothing runs compares it afterwards,
// with the hold set: such a thread counts itself first and looks at the hold then.
std::uint64_t late_passes();

// After closing: whether every thread has been seen outside since. The caller has called barrier() after the close.
void barrier();
bool all_outside();
std::uint64_t submissions();  // of all threads, dead ones too; the mover's alone
// The same for any thread, when nobody is in a call that submits: all that has been counted is with the driver.
// Nothing: somebody is, or it would take long to find out.
std::optional<std::uint64_t> settled_submissions();

void grant(Entry& mine, std::int64_t credit);  // instead of what is left of the last one
// Takes credit back from everybody who is outside. False: somebody else has endless credit, try again. The mover's
// alone.
bool take_credit_back();

}  // namespace lull::gate
