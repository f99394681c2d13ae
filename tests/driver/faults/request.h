// Faults on demand: the requests of LULL_SIM_FAULTS (separated by ;) and of the control socket (one a line).
//
//   FUNCTION:WHEN=ERROR        a call of this exported function (cuMemAlloc_v2, not cuMemAlloc) fails instead of being
//                              made: with a number (2) or a name (CUDA_ERROR_OUT_OF_MEMORY)
//   FUNCTION:WHEN=delay TIME   it is made so much later (10ms)
//   FUNCTION:WHEN=kill         the process is killed as it makes it
//                              WHEN: N, the Nth call from now on, from 1; N+, it and all later ones; *, every one
//   corrupt WAY:WHEN           a byte of such a copy arrives wrong; WAY: h2d, d2h, d2d
//   shrink SIZE [CARD]         the card (0) has so much (256MiB) less memory; 0: all again, as when the process ends
//   hang STREAM                the next work of a stream never ends; its number as in the journal, or `any`
//   release STREAM             it goes on; `any`: all do
//   clear                      no faults any more, except what is shrunk
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lull::sim {

struct Occasion {
  std::uint64_t nth = 1;
  bool and_later = false;
  bool is(std::uint64_t count) const { return count == nth || (and_later && count > nth); }
};

struct Request {
  enum class What { fail, delay, kill, corrupt, shrink, hang, release, clear };
  What what = What::clear;
  std::string function;        // fail, delay, kill
  Occasion occasion;           // those, and corrupt
  int error = 0;               // fail
  std::uint64_t delay_ns = 0;  // delay
  std::string way;             // corrupt
  std::uint64_t bytes = 0;     // shrink
  int card = 0;                // shrink
  std::uint32_t stream = 0;    // hang, release; 0: any
};

// One request. False: `problem` says what is wrong and what is expected.
bool parse_request(std::string_view text, Request& out, std::string& problem);
// Several, separated by ; or by ends of lines. None is left out silently: false if any is wrong.
bool parse_requests(std::string_view text, std::vector<Request>& out, std::string& problem);

}  // namespace lull::sim
