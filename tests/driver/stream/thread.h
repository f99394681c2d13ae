// Threads of the driver: detached, and deaf to the program's signals.
#pragma once
#include <functional>

namespace lull::sim {

// False: the system has none to give.
bool start_thread(const char* name, std::function<void()> body);

// Runs it on a thread that is kept for such work, soon: a bounded number of them is shared by the process.
void run_elsewhere(std::function<void()> body);

}  // namespace lull::sim
