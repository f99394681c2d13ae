// broker/soon.h: a word from whoever knows that a request is about to come, as a datagram to the socket "soon" beside
// the class's "broker": "faces 30s", or "30s" (or nothing) from a process of the service itself. Who reaches the class
// may say so: it costs no more than a request.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "broker/loop.h"
#include "broker/policy.h"
#include "protocol/fd.h"

namespace lull {

inline constexpr policy::Time usual_wake = 30 * policy::second, longest_wake = 600 * policy::second;

struct SoonWord {
  std::string tenant;  // empty: the sender's own
  policy::Time lasts = usual_wake;
};
// A stranger's bytes. Nothing: no sense in it.
std::optional<SoonWord> parse_soon(std::string_view);

// Reads one datagram and who sent it. Nothing: none was there, or it makes no sense; `pid` of the sender.
std::optional<SoonWord> receive_soon(int socket, int* pid);

}  // namespace lull
