// shim/link.h: the thread that talks to the broker. It has a descriptor table of its own: a program that closes every
// descriptor loses nothing, and nothing of ours lands in its files. Others wake it by a signal directed at it alone,
// which it keeps blocked and reads from a signalfd.
#pragma once
#include <csignal>
#include <cstdint>

namespace lull::link {

inline constexpr int kick_signal = SIGURG;  // ignored by default and not queued: harmless if it ever went astray

bool start();
std::int32_t thread_id();  // 0: not running
bool expected();           // a broker is there or may be: its first word is worth waiting for
bool settling();           // one has just been met; what it has not said yet it will

}  // namespace lull::link
