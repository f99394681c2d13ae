// What the cases of the kinds of memory share, beside what they share with the hazards'.
#pragma once
#include "tests/hazards/support.h"

namespace lull::hazards {

inline CUstream make_stream() {
  (void)context();
  CUstream stream = nullptr;
  OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
  return stream;
}

inline void close_gate() {
  broker().gate(GateState::closed);
  demand(broker().reaches(Phase::drained), "the program is drained");
}

// Of the whole card, as any process would be told that has no shim.
inline std::size_t free_on_card() {
  (void)context();
  static const auto ask = reinterpret_cast<decltype(&cuMemGetInfo_v2)>(behind_the_shim("cuMemGetInfo_v2"));
  std::size_t free = 0, total = 0;
  OK(ask(&free, &total));
  return free;
}

inline std::size_t promised_free() {
  (void)context();
  std::size_t free = 0, total = 0;
  OK(cuMemGetInfo_v2(&free, &total));
  return free;
}

}  // namespace lull::hazards
