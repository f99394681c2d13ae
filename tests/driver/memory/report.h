// Misuse of memory, told to whoever asks for it by LULL_SIM_REPORT: one line for each finding. Without it nothing is
// written, remembered or looked up here; the calls answer their documented errors in any case.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lull::sim {

class Context;

bool reporting();
// What was found, with the exported function that this thread is in.
void report(std::string_view finding, std::uintptr_t address, std::size_t bytes);

// All but the last need Space::mutex.
void note_freed(std::uintptr_t base, std::size_t bytes);
void report_bad_free(std::uintptr_t base);
void report_bad_unmap(std::uintptr_t base, std::size_t bytes);
// What a context leaves behind; `last`: and what belongs to no context, as no other is active.
void report_leaks(const Context& context, bool last);
// Work touches, or was asked to touch, what is not there: memory once freed, or the end of an allocation.
void report_touch(std::uintptr_t address, std::size_t bytes);

}  // namespace lull::sim
