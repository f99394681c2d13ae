// shim/arena.h: one arena, for those who keep the list of them: backing.cpp (places) and parking.cpp (to disk and
// back).
#pragma once
#include <cstddef>
#include <cstdint>

#include "protocol/checksum.h"
#include "shim/extents.h"
#include "shim/lock.h"
#include "shim/vector.h"

namespace lull::backing {

struct Arena {
  // parked: nothing here touches its content, which the broker may read. on_disk: only a file is sure to have it.
  enum class At : std::uint8_t { memory, parked, on_disk };

  std::byte* base;
  std::uint64_t bytes, number;
  void* reserved;       // addresses around it, too
  bool placed;          // has been open for use, so `places` is what is free of it
  bool registered;      // or refused
  bool leaving;         // nothing is stored here any more
  bool private_memory;  // not the broker's any more: read from a file that it left
  Extents places;       // by address

  At at;
  std::uint32_t turn;      // which parking of it this is; answers to an earlier one say another
  std::uint64_t changing;  // of its content when it was parked: written anew at the last eviction
  bool unregistered;       // the broker may be told that it is parked
  bool told;               // has been told so, and later that the file is here
  bool wanted;             // its content is needed in memory
  bool asked;              // the broker has been told that
  bool resumed;            // the broker is still to be told that it is
  bool ours;               // the broker that wrote the file is gone: we read it
  bool lost;               // the last attempt to get it back has failed
  std::uint64_t lost_ns;   // when
  int file;                // in the link's table; -1: none
  Sum sum;                 // of what is in it

  std::uint64_t used() const { return placed ? bytes - places.free_bytes() : 0; }
  bool holds(const std::byte* place) const { return place >= base && place < base + bytes; }
};

Mutex& arenas_mutex();
Vector<Arena*>& all_arenas(const Locked&);

}  // namespace lull::backing
