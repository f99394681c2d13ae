// tests/replay/trace.h: what happened on a card: its sizes, its tenants, and when somebody wanted something of whom.
//
//   card memory=24GiB headroom=256MiB native=600MB link=12GB both=0.7 hash=400GB
//   tenant trainer training 20GiB kernel=50ms     a trainer always has work; nothing runs longer than `kernel`
//   tenant detector inference 18GiB               memory that does not change leaves at the speed of `hash`
//   pipeline detector pose faces                  a request uses them one after another; the broker is told so
//   until 86400s
//   12.5s detector:600ms                          a request, and how long it computes; the next stage begins when one
//   ends 30s detector:700ms pose:600ms faces:700ms 40s nested detector:200ms pose:300ms detector:100ms     the first
//   one is not answered before the last has ended 50s probe detector                            a packet that leads to
//   nothing
//
// Lines are in order of time; "#" begins a comment. `link` is each way alone, `both` the share of it that each way has
// while both are used.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "broker/policy.h"

namespace lull::replay {

using policy::Bytes;
using policy::Time;

struct Tenant {
  std::string name;
  Class klass = Class::training;
  Bytes memory = 0;
  Time kernel = 20 * policy::ms;
  std::uint32_t pipeline = 0;                                 // the same number: of one pipeline; 0: of none
  bool changes() const { return klass != Class::inference; }  // its memory, from one lease to the next
};

struct Stage {
  std::size_t tenant;
  Time work;
};

struct Request {
  Time at = 0;
  bool nested = false, probe = false;
  std::vector<Stage> stages;  // of a probe one without work
};

struct Trace {
  Bytes memory = 24ull << 30, headroom = 256ull << 20, native = 600'000'000;
  double link = 12e9, hash = 400e9, both = 0.7;  // bytes a second, a share
  Time until = 0;
  std::vector<Tenant> tenants;
  std::vector<Request> requests;
};

struct TraceProblem {
  std::string text;  // "day.trace:7: no tenant is called \"pose\""
};

std::variant<Trace, TraceProblem> parse_trace(std::string_view text, const std::string& name);

}  // namespace lull::replay
