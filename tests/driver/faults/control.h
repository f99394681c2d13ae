// The control socket: faults on demand while the process runs.
//
// LULL_SIM_CONTROL=PATH (with %p for the process's number, or @NAME without a file) makes cuInit open a Unix datagram
// socket there. A datagram holds requests, one a line; the answer to its sender is one line for each: "ok", or
// "error: " and what is wrong. A thread of its own serves it, with descriptors of its own: a program that closes all
// of its descriptors does not close this one.
#pragma once
#include <string>

namespace lull::sim {

std::string start_control();  // empty, or why it cannot be; nothing happens without the variable

}  // namespace lull::sim
