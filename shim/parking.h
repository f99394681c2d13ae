// shim/parking.h: arenas whose data is on no card for the time being go to disk when the broker asks for it
// (protocol/messages.h, docs/memory.md), and come back before anything is copied from them.
//
//   memory ──park()──▶ parked ──spilled──▶ on_disk ──recall(), filled──▶ memory
//                        └──────recall(), or the broker is gone──────────▶
//
// Without the broker that wrote it, a file is read here, into memory of our own. Thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

#include "protocol/messages.h"

namespace lull::backing {
struct Arena;
}

namespace lull::parking {

// From the mover, with a context current and nothing to restore: parks one arena, if that brings us nearer to the wish.
// Copies there of chunks that are present are dropped.
void park(std::uint64_t wanted_bytes, std::uint64_t changing_bytes);
bool may_park(std::uint64_t wanted_bytes);

// Whether a place can be copied from. If not it is asked for, and will be some time; `lost`: the last try has failed.
bool at_hand(const std::byte* place);
void recall(const std::byte* place);
bool lost(const std::byte* place);
void forget_file(backing::Arena&);  // the arena goes

// Whether the broker that is there knows of all this (minor 2): else it would take its words for lies.
bool spoken();

// From the link.
void broker_came(unsigned minor);
std::optional<Spill> next_step();  // what the broker is to be told; stays first in line until stepped(it)
void stepped(const Spill&);
void on_spilled(const Spilled&, int& file);  // takes the descriptor, or leaves it
void on_filled(const Filled&);
void broker_gone();
void read_files();       // those that are wanted and that no broker will read
int take_closed_file();  // to be closed; -1: none

}  // namespace lull::parking
