// shim/room.h: room on the card for what Lull does not place: modules (also those a launch loads lazily), graphs,
// contexts, pools, arrays.
//
// Such a call that finds no memory is made again when the broker has made room (protocol/page.h: native_wanted):
//
//   call ──out of memory──▶ ask, twice as much each time ──given──▶ call again ──▶ its result
//                              └─ refused, or ten seconds behind an open gate without an answer: out of memory
//
// While the gate is closed the thread waits for its turn, as if it submitted. It asks for nothing where it must not
// wait: in the driver, or while a capture is open. What was given stays asked for if the call succeeds.
//
// A launch through the gate's fast path has lost its arguments when it comes back, and cannot be made again; so the
// fast path is closed while the card has less free than a chunk (gate::tight).
#pragma once
#include <cstdint>
#include <optional>

#include "shim/real.h"

namespace lull::room {

struct Where {
  std::optional<unsigned> slot;  // nothing: that of the current context
  std::uint64_t bytes = 0;       // if it is known how much the call takes
};

// After it has found no memory.
using Again = CUresult(void* call);
CUresult ask_and_call(Again* again, void* call, Where where);
template <class Call>
CUresult ask_and_call(Call& call, Where where) {
  return ask_and_call([](void* self) { return (*static_cast<Call*>(self))(); }, &call, where);
}

// `call` has not run, or has found no memory: in both cases nothing has happened.
template <class Call>
CUresult asking(Call call, Where where = {}) {
  const CUresult result = call();
  return result == CUDA_ERROR_OUT_OF_MEMORY ? ask_and_call(call, where) : result;
}

// The handler of rows that are marked `retried`.
template <auto& next, typename Signature>
struct Retried;
template <auto& next, typename... Args>
struct Retried<next, CUresult(Args...)> {
  static CUresult call(Args... args) {
    return asking([&] { return next(args...); });
  }
};

// The mover's part.
void look(unsigned slot);  // whether the card is nearly full
// A restore finds no memory although its quota allows it: after a while it asks for room, too.
void restore_failed(unsigned slot);
void restored(unsigned slot);
void evicted(unsigned slot);  // gives back what was asked for a restore

void publish_all();  // into a new page

}  // namespace lull::room
