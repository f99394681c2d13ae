// Between standin.cpp, where every function is alike, and lookup.cpp, which has those that are not.
#pragma once
#include <cstdint>

inline constexpr int invalid_value = 1, unknown_name = -1, version_too_low = -2;

extern "C" void standin_count(const char* symbol);
extern "C" int standin_note_lookup(const char* symbol, const char* name, void** function, int version,
                                   std::uint64_t flags);  // 0 or one of the above
