// protocol/page.h: the two shared pages of one client. The pages are the truth; doorbells only wake.
//
//   down  broker → shim   memfd, mapped read-only by the shim, sealed against growing, shrinking and new writable maps
//   up    shim → broker   memfd, mapped by both; the broker parses every word it loads (the peer is a stranger)
//
// Each word has one writer, which never reads it back. Every side re-reads everything at least every 100 ms, so a lost
// wake-up costs time, never progress. A page of zeroes reads "unmanaged": run on as if there were no broker.
// To change the layout: use a reserved word and raise protocol_minor; anything else raises protocol_major.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "protocol/words.h"

namespace lull {

inline constexpr std::uint16_t protocol_major = 1;  // must be equal on both sides
// The smaller one is spoken. Minor 1 brought backing_limit_plus_1 and piece_bytes (down page), unchanged_bytes (up
// page), Arena::number and the message `returned`. Minor 2 brought native_room_plus_1 and native_refused (down page),
// native_wanted (up page); park_bytes and park_changing_bytes (down page), the messages `spill`, `spilled` and
// `filled`, and Overdue::spill_lost.
inline constexpr std::uint16_t protocol_minor = 2;
inline constexpr unsigned max_gpus = 16;         // records in a page; a client's slot numbers are its own choice
inline constexpr std::size_t page_bytes = 4096;  // of each page
inline constexpr std::uint64_t recheck_ns = 100'000'000;  // the longest anyone relies on a wake-up alone

using Word = std::atomic<std::uint64_t>;
using Word32 = std::atomic<std::uint32_t>;

// One GPU, broker → shim. Stores are release; the shim's loads are acquire.
struct alignas(128) DownGpu {
  Word gate;                    // pack(GateWord)
  Word quota_plus_1;            // bytes the client may hold through Lull now; 0: no limit
  Word admit_plus_1;            // bytes `needed` may reach (there is a place to evict them to); 0: no limit
  Word32 drain_limit_us;        // != 0: queue no more work on the device than takes about so many microseconds
  Word32 reason;                // Reason (protocol/reason.h), why gate and quota are as they are; for people only
  std::uint64_t pause_hint[2];  // reserved for a word written by the kernel when a packet arrives; must be 0
  Word piece_bytes;             // how much to copy in one piece; 0: as the shim thinks
  Word native_room_plus_1;      // bytes of native_wanted for which there is room now; 0: this broker makes none
  Word native_refused;          // the native_wanted for which there will be no room, as things are; 0: none
  std::uint64_t reserved[6];    // must be 0
};

// Native memory (contexts, modules, graphs, pools) has a reserve that is always free. A call of the driver that finds
// no memory all the same adds what it may need to native_wanted. The broker takes that from others as it would for
// allocations, by rank and turn, charges the client with it and says so in native_room_plus_1; then the call is made
// again. What the client has got by it stays in native_wanted, and charged, until the client takes it out of there.

// Backing that is no longer needed goes back. The limit is a wish, not an order, and of all arenas of the client
// together:
//
//   shim     While an arena with a number (messages.h) is there without which the rest is still >= the limit: it stops
//            storing there, drops copies kept there of chunks that are resident, and when nothing is left that exists
//            only there, unregisters and unmaps it and sends `returned`. Never below the limit, so that what goes back
//            is not what will be asked for next. Data that is evicted there is not moved for it. It is in no hurry:
//            only after whatever a request waits for.
//   broker   The limit is never below what the client has evicted. It falls to what the program has allocated + a chunk
//            after a time without need, and further under memory pressure, at once (docs/memory.md).
//
// Arenas whose data is on no card for the time being can go to disk (messages.h, docs/memory.md): park_bytes is how
// much evicted data the client should have out of its hands, in whole arenas; a wish as well. park_changing_bytes is
// how much of that may be of a kind that is written anew with every eviction.
struct alignas(4096) DownPage {
  Word32 wake;                // futex word (shared): raised after every change to this page, then all waiters are woken
  Word32 restarting;          // != 0: the broker has announced a restart; wait longer before going on without it
  Word backing_limit_plus_1;  // bytes of backing the client should come down to, see below; 0: no limit
  Word park_bytes;            // evicted data that should be parked, in all; 0: none has to be
  Word park_changing_bytes;   // of it, at most so much that was changed since the eviction before
  std::uint64_t reserved[12];
  DownGpu gpu[max_gpus];
};

// One GPU, shim → broker. Stores are release; the broker's loads are acquire and parsed.
struct alignas(128) UpGpu {
  Word seen_gate;          // the gate word last acted on
  Word seen_quota_plus_1;  // the quota last acted on: from now on the client stays within it, or is moving towards it
  Word phase;              // pack(PhaseWord)
  Word resident;           // bytes in device memory through Lull
  Word needed;             // bytes the application has allocated through Lull; resident <= needed but for chunk tails
  Word native;             // estimate of device bytes Lull cannot move: contexts, modules, pools, arrays
  Word wants;              // count of submissions that met a closed gate; a change is demand
  Word interrupted;        // count of signals that arrived behind the closed gate; a change asks for a last turn
  Word submissions;        // count of submissions, sampled; a change is activity
  Word evicted_bytes;      // bytes copied to host since the process began
  Word restored_bytes;     // bytes copied back since the process began
  Word first_pass_ns;      // CLOCK_MONOTONIC when the first waiting thread went through the gate's present opening
  Word refused_bytes;      // size of the last allocation refused because there is no place to evict it to
  Word unchanged_bytes;    // bytes that left without a copy since the process began, because one was there already
  Word native_wanted;      // bytes of native memory beyond what is kept for every client, see above
  std::uint64_t reserved[1];
};

struct alignas(4096) UpPage {
  std::uint64_t reserved[16];
  UpGpu gpu[max_gpus];
};

static_assert(sizeof(DownGpu) == 128 && sizeof(UpGpu) == 128);
static_assert(offsetof(DownGpu, quota_plus_1) == 8 && offsetof(DownGpu, admit_plus_1) == 16);
static_assert(offsetof(DownGpu, drain_limit_us) == 24 && offsetof(DownGpu, pause_hint) == 32);
static_assert(offsetof(UpGpu, phase) == 16 && offsetof(UpGpu, first_pass_ns) == 88);
static_assert(offsetof(DownPage, backing_limit_plus_1) == 8);
static_assert(sizeof(DownPage) == page_bytes && sizeof(UpPage) == page_bytes);
static_assert(offsetof(DownPage, gpu) == 128 && offsetof(UpPage, gpu) == 128);
static_assert(std::is_standard_layout_v<DownPage> && std::is_standard_layout_v<UpPage>);
static_assert(Word::is_always_lock_free && Word32::is_always_lock_free);
static_assert(pack(GateWord{}) == 0 && pack(PhaseWord{}) == 0, "a fresh page must read unmanaged and running");

}  // namespace lull
