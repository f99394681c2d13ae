// broker/backing.h: how much host memory each client has to evict to, as arithmetic: who gets the next piece, and how
// far each should come down. No clock, descriptor or file of its own.
//
//   grows    What somebody cannot do without now comes first, then what may have to leave the card, then whole needs,
//            ahead of need. All within the budget, and never so far that the machine is short of memory.
//   shrinks  After a time without need, to what the program has allocated (and a chunk). Under pressure, at once: first
//            what a neighbour's presence does not ask for, then also places of those who have nothing evicted: copies
//            that are kept only because they may save a copy later.
#pragma once
#include <optional>
#include <span>

#include "broker/policy.h"

namespace lull {

// How short of memory the machine is. tight: less is available than is to stay free. severe: less than half of that.
enum class Pressure : std::uint8_t { none, tight, severe };
const char* name_of(Pressure);
Pressure pressure_of(policy::Bytes available, policy::Bytes keep_free);

// Pressure that has ended counts until it has not been seen for a while, so that what has just been given back is not
// asked for again at once.
struct PressureMemory {
  Pressure level = Pressure::none;
  policy::Time seen = 0;
};
PressureMemory remember_pressure(PressureMemory, Pressure seen, policy::Time now, policy::Time linger);

// What is remembered of each client between two looks.
struct BackingNeed {
  policy::Bytes overhead = 0;  // beyond what is allocated: a chunk, or more where places did not fit chunks
  policy::Bytes most = 0;      // needed + overhead at its most, within the linger
  policy::Time most_at = 0;
};

struct Backed {
  policy::ClientId id = 0;
  unsigned uid = 0;
  policy::Bytes needed = 0;   // what the program has allocated
  policy::Bytes evicted = 0;  // of that, what is not on the card
  policy::Bytes backing = 0;  // what it has been given
  policy::Bytes away = 0;     // of that, on disk alone
  policy::Bytes deficit = 0;  // what does not fit on the card when everybody is there
  policy::Bytes chunk = 0;    // unit of eviction; a chunk does not cross two pieces
  bool starved = false;       // it could not evict for want of backing
};

BackingNeed remember_need(BackingNeed, const Backed&, policy::Time now, policy::Time linger);

// What the client should come down to; nothing is given beyond it either.
policy::Bytes backing_limit(const Backed&, const BackingNeed&, Pressure);

struct Growth {
  policy::ClientId id;
  policy::Bytes bytes;
};
struct ArenaLimits {
  policy::Bytes budget;   // of all together, for what has to be
  policy::Bytes per_uid;  // of each user
  policy::Bytes ahead;    // of all together, for what only may be: leaves the machine more
};
struct Claim {
  Backed client;
  policy::Bytes wanted;  // by what it needs now
  policy::Bytes limit;   // backing_limit
};
Claim claim_of(const Backed&, const BackingNeed&, Pressure);
// Who gets the next piece, and how large. A client alone leaves half the budget to those to come.
std::optional<Growth> next_growth(std::span<const Claim>, const ArenaLimits&);

// How much more of the budget would have to be free for the next who cannot do without, or may have to leave the card;
// 0: nobody waits for it.
policy::Bytes unserved_growth(std::span<const Claim>, const ArenaLimits&);

}  // namespace lull
