// shim/gated.h: the handler of every row that submits work: through the gate, then to the driver.
//
// The usual case of gate::Pass is repeated here, cut so that a launch costs few instructions: nothing is called before
// the driver is, so the arguments stay where the caller put them. Whatever is unusual (first call of a thread, nested
// call, gate closed, memory missing, no credit left) is left to gate::Pass, with everything undone.
#pragma once
#include <type_traits>

#include "shim/gate.h"
#include "shim/real.h"
#include "shim/room.h"
#include "shim/rows.h"
#include "shim/words.h"

namespace lull {

namespace gate {

inline Entry nobody;  // left in place of a thread's own entry when gate::Pass did the work

// Marks this thread as inside and answers true, if nothing at all is unusual; otherwise changes nothing.
[[gnu::always_inline]] inline bool enter_quickly(Entry* entry) {
  if (!words::is_zero(entry->inside)) [[unlikely]]
    return false;
  words::store_stack_pointer(entry->inside);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // as in Pass: the mover's membarrier does the rest
  // The lowest bit of a gate word is set when it is closed. In words that no broker of ours writes it may mean more:
  // Pass looks at them again.
  if (words::is_odd(*gate_word) || !words::is(*private_word, active)) [[unlikely]] {
    entry->inside.store(0, std::memory_order_release);
    return false;
  }
  if (!words::spend_one(entry->credit)) [[unlikely]] {
    entry->credit.fetch_add(1, std::memory_order_relaxed);
    entry->inside.store(0, std::memory_order_release);
    return false;
  }
  return true;
}

}  // namespace gate

// The stream a submission goes to: it passes a closed gate if it is being captured. What names no stream goes to the
// default one, and for per-thread twins the default one is the thread's own.
template <typename T>
CUstream stream_in(T) {
  return nullptr;
}
inline CUstream stream_in(CUstream stream) { return stream; }
inline CUstream stream_in(const CUlaunchConfig* config) { return config ? config->hStream : nullptr; }
inline CUstream stream_in(CUDA_GRAPH_INSTANTIATE_PARAMS* params) { return params ? params->hUploadStream : nullptr; }

template <Stream flavour, typename... Args>
CUstream stream_of(Args... args) {
  CUstream stream = nullptr;
  ((stream = stream ? stream : stream_in(args)), ...);
  return flavour == Stream::per_thread && !stream ? CU_STREAM_PER_THREAD : stream;
}

template <typename T>
constexpr bool says_where = std::is_same_v<T, CUstream> || std::is_same_v<T, const CUlaunchConfig*>;

// Rows that may need native memory and have few arguments, so that keeping them for a second call costs little.
template <typename T>
constexpr bool runs_code =
    std::is_same_v<T, CUfunction> || std::is_same_v<T, CUgraphExec> || std::is_same_v<T, CUgraphExec*>;
template <typename... Args>
constexpr bool made_again = sizeof...(Args) <= 4 && (runs_code<Args> || ...);

template <auto& next, Stream flavour, typename Signature>
struct Gated;

template <auto& next, Stream flavour, typename... Args>
struct Gated<next, flavour, CUresult(Args...)> {
  static CUresult call(Args... args) {
    gate::Entry* entry = gate::my_entry;
    auto* target = next.address();
    if (!gate::enter_quickly(entry)) [[unlikely]] {
      entry = &gate::nobody;
      target = &call_slowly;
    }
    const CUresult result = target(args...);            // one call for both, or the arguments would be moved about
    entry->inside.store(0, std::memory_order_release);  // seen by gate::all_outside()
    if constexpr (made_again<Args...>) {
      if (result == CUDA_ERROR_OUT_OF_MEMORY && entry != &gate::nobody) [[unlikely]]
        return call_slowly(args...);
    }
    return result;
  }

  [[gnu::noinline, gnu::cold]] static CUresult call_slowly(Args... args) { return call_heavy(1, args...); }

  // Weighs more than one, where that matters.
  static CUresult call_heavy(unsigned units, Args... args) {
    return room::asking([&] {
      const gate::Pass inside(gate::Submission{stream_of<flavour>(args...), (says_where<Args> || ...), units});
      return next(args...);
    });
  }
};

}  // namespace lull
