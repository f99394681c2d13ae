// broker/policy.h: who may use the card, as arithmetic. No clock, descriptor, log, lock or allocation of its own.
//
// The arbiter keeps a State for each GPU, asks decide() after every change and at the time it asked for, and applies
// the answers. Times are CLOCK_MONOTONIC nanoseconds; sizes are bytes. One thread.
//
//   charge    of a client: max(quota it was last seen to obey, every quota sent since, resident)
//             + max(native reserve, native, what it has been given for native memory)
//   always    sum of charges + foreign + headroom <= capacity
//   holder    the client that has the lease: its gate is open, its quota follows its needs
//   victims   clients whose gate is closed and whose quota is lowered, only by what the holder lacks (the deficit)
//   filler    the one client whose quota is above what it has resident; there is at most one
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "protocol/reason.h"
#include "protocol/words.h"

namespace lull::policy {

using Time = std::uint64_t;  // nanoseconds, CLOCK_MONOTONIC
using Bytes = std::uint64_t;
using ClientId = std::uint32_t;

inline constexpr Time ms = 1'000'000;
inline constexpr Time second = 1'000 * ms;
inline constexpr Time never = ~Time{0};

// From the configuration; the defaults stand here and nowhere else.
struct Rules {
  Time linger_min = 1 * second, linger_max = 30 * second;  // within them: best_linger()
  std::optional<Time> keep_alive;                          // overrides the linger; 0: give back at once; never: keep
  Time unproven_close = 20 * ms;     // the longest an arrival that may be nothing keeps a gate closed
  Time min_hold = 10 * second;       // against anything but requests
  Time quantum = 600 * second;       // turns among clients of one class, at least 50 switches long
  Time loading_quiet = 30 * second;  // a starting service counts as loaded after this long without activity
  Time loading_max = 300 * second;
  Time loading_linger = 10 * second;
  Time yield_idle = 50 * ms;          // a holder idle for this long yields to a waiting peer of its class
  Time max_slice = 5 * second;        // a busy one yields after this long
  Time exit_grace = 60 * second;      // what a program with a signal behind the gate gets, in all
  Time overdue_retry = 500 * ms;      // doubled at each failure in a row, up to a minute
  Time max_wait = 60 * second;        // a wait without an end in sight is said after this long
  Time starved_after = 600 * second;  // training that has waited for higher classes for so long at a stretch says so
  Time computing_max = 600 * second;  // who is interactive and computes for longer counts as training until idle
  Time max_pause = 240 * second;      // a gang that is paused for longer gets a slice: its processes time out else
  Time gang_slice = 2 * second;
  Bytes growth_headroom = 256ull << 20;   // quota above what is needed, where the card has it to spare
  std::uint32_t drain_limit_us = 50'000;  // of training's work in flight, while a higher class has a client; 0: none
  std::uint32_t armed_drain_limit_us = 2'000;  // ... while a request is on its way
};

// How long a service has been left alone between requests, lately.
struct Gaps {
  std::array<float, 8> weight{};  // of gaps up to 1, 2, 4 ... 64 s, and of longer ones; newer ones weigh more
};
void note_gap(Gaps&, Time gap);
// How long to keep the card after a request: what costs least by these gaps, where giving it back and fetching it again
// takes `round_trip`. Between `shortest` and `most`; between `least` and `most` until enough gaps are known.
struct Lingers {
  Time least, most, shortest;
};
Time best_linger(const Gaps&, Time round_trip, const Lingers&);

// What a client wants, lowest first.
enum class Level : std::uint8_t {
  none,
  background,  // a trainer that was running when it was paused, but is not known to wait
  training,
  held,  // its owner keeps the card for it, whether or not it has anything to do
  loading,
  interactive,
  inference,
  slice,  // a gang that has been paused for too long
  exit,   // a signal waits behind its gate
};

// What its owner has said by hand, the stronger the later.
enum class Order : std::uint8_t { none, hold, pause, release };

// What those of a gang on one GPU have to say to those on others: how far they are (they have no place, or one, or
// nothing here keeps them from running), and what they want.
enum class Readiness : std::uint8_t { none, seated, ready };
struct GangWord {
  Readiness readiness = Readiness::none;
  Level wants = Level::none;
  bool operator==(const GangWord&) const = default;
};
// What all others have said.
struct GangNews {
  Level wants = Level::none;
  bool waits = false;   // one is not ready
  bool behind = false;  // one on an earlier GPU has no place: that one is to be had first
};

// One client on one GPU: what was sent to it, what it answered (parsed), and what is known of its requests.
struct Client {
  ClientId id = 0;
  Class klass = Class::training;
  // Sent by the broker.
  GateWord gate;
  Time gate_since = 0;               // when the gate last changed its state
  std::uint32_t drain_limit_us = 0;  // last sent
  std::optional<Bytes> quota;        // last sent; nothing: not managed yet, counted by what is resident
  Bytes quota_high = 0;              // largest quota sent since (and including) the one last seen
  // Answered by the shim.
  GateWord seen_gate;
  PhaseWord phase;
  Bytes resident = 0, needed = 0, native = 0;
  Time whole_since = 0;      // since when resident >= needed; 0: it is not. Idleness and slices count from here, else
                             // two services that take longer to restore than a slice would swap for ever
  Bytes native_wanted = 0;   // beyond the reserve: calls of the driver have found no memory, or have got by this
  bool wants = false;        // a submission waits at the closed gate
  bool interrupted = false;  // a signal waited behind the closed gate; true until exit_grace is spent, so that a
                             // program which saves its state in several bursts gets the card for each
  Time wants_since = 0, interrupted_since = 0;
  Time last_submission = 0;  // 0: none seen yet
  Time busy_since = 0;       // since when it has computed, or waited to, without a pause of its own
  Bytes backing = 0;         // host memory it has been given to evict to
  bool unevictable = false;  // nothing of it can move (LULL_IPC=native)
  // Requests seen by the kernel programs; all zero without them.
  std::uint32_t waiting = 0;  // requests in flight
  Time last_arrival = 0, last_request_activity = 0;
  bool proven = false;  // of the requests in flight one is of a kind that has led to GPU work before
  Time last_hint = 0;   // somebody has connected: weaker than an arrival, and soon forgotten
  Time wake_until = 0;  // somebody has said that a request will come before then
  Gaps gaps;
  // By its owner's word, before `order_until`; never: until told otherwise.
  Order order = Order::none;
  Time order_until = never;
  // Those with the same number belong together; 0: it belongs to none.
  std::uint32_t gang = 0;          // run together or not at all, on all their GPUs
  std::uint32_t pipeline = 0;      // a request uses them one after another
  Time gang_waits_since = 0;       // != 0: a part of its gang on another GPU is not ready
  Time gang_waited = 0;            // in this lease, before that
  bool gang_behind = false;        // GangNews
  Level gang_wants = Level::none;  // likewise
  GangWord gang_said;
  // Room for native memory beyond the reserve.
  Bytes native_given = 0;    // of native_wanted
  Bytes native_floor = 0;    // what it is charged with at least for that
  Bytes native_refused = 0;  // the native_wanted that cannot be given, as things are; last sent
  // Life.
  Time connected = 0;
  bool loading = false;  // a service that has not yet listened, answered, or been quiet; the arbiter clears it
  // Memory of earlier decisions, updated by remember() (never by decide itself).
  Time lease_since = 0;                // != 0: has the lease
  Time lease_ended = 0;                // when it last lost the lease
  Reason lease_reason = Reason::none;  // why it was given the lease; overdue: it could not use its last one
  Time exit_grace_spent = 0;           // in leases given for a signal
  Time loading_spent = 0;              // in leases held while loading
  Time turn_spent = 0;                 // of a turn that somebody of a higher class cut short; it is resumed first
  Time overdue_until = 0;              // let go after a failed drain; not to be paused again before this
  std::uint32_t overdue_count = 0;     // in a row; the arbiter clears it when a drain succeeds
  Reason reason = Reason::none;        // why gate and quota are as they are
  Time reason_since = 0;
  Reason stuck = Reason::none;  // the last Stuck
};

// A submission, or one that waits, has been seen: is it still the same computation? To be called before the times of
// the last ones are changed. Time behind a closed gate is no pause of its own.
void note_busy(Client&, const Rules&, Time now);
void note_gang(Client&, const GangNews&, Time now);

struct Gpu {
  Bytes capacity = 0;        // device memory in all
  Bytes foreign = 0;         // held by programs that are not clients
  Bytes kept_free = 0;       // to be freed and kept for such programs, beyond what they hold
  Bytes native_reserve = 0;  // kept for each client's contexts and modules
  Bytes headroom = 0;        // never given out
  Bytes chunk = 2ull << 20;  // unit of eviction
  Time round_trip = 0;       // measured: the last full switch there and back; 0: none yet
};

// decide() works on the stack. The arbiter refuses a client beyond these; if it did not, decide() would count its
// memory and leave it unmanaged.
inline constexpr std::size_t max_clients = 1024;

struct State {
  Gpu gpu;
  Rules rules;
  std::vector<Client> clients;  // in order of connection
};

Bytes native_charge(const Client&, const Gpu&);
Bytes charge(const Client&, const Gpu&);
Bytes free_now(const State&);  // capacity - headroom - foreign - sum of charges; 0 when negative

// Decisions, in the order in which they are to be applied. Each carries its reason.

// To the state the gate has already: only the reason is new, and the generation stays.
struct SetGate {
  ClientId client;
  GateState state;
  Reason reason;
};
struct SetQuota {
  ClientId client;
  Bytes quota;
  Reason reason;
};
// How much work a client may have in flight. 0: no bound.
struct Arm {
  ClientId client;
  std::uint32_t drain_limit_us;
};
// Starts a lease; the reason says what for.
struct TakeLease {
  ClientId client;
  Reason reason;
};
// peer_turn: its turn is over; overdue: it could not use it; else who cut it short.
struct EndLease {
  ClientId client;
  Reason reason;
};
// Overdue: reopened (by the SetGate that follows), and left alone until then.
struct LetGo {
  ClientId client;
  Time until;
};
// There is room for so much of what it wants for native memory, or it has given some back. It is charged with `floor`
// for native memory from now on, at least.
struct GiveNative {
  ClientId client;
  Bytes given, floor;
};
// Not so much. 0: it is given, or may be.
struct RefuseNative {
  ClientId client;
  Bytes wanted;
};
struct TellGang {
  ClientId client;
  GangWord word;
};
// A wait that nothing will end by itself: say so. Reason::none: it has ended.
struct Stuck {
  ClientId client;
  Reason reason;
};
// Ask again then at the latest.
struct WakeAt {
  Time at;
};
using Decision =
    std::variant<SetGate, SetQuota, Arm, TakeLease, EndLease, LetGo, GiveNative, RefuseNative, TellGang, Stuck, WakeAt>;
using Decisions = std::vector<Decision>;

// Fills `out` (cleared first; its capacity is reused, so a warm buffer allocates nothing). Asking again without a
// change of state or time gives nothing but the same WakeAt once the decisions have been applied.
void decide(const State&, Time now, Decisions& out);

// What a decision changes in the client it names: gate and generation, quota, lease, what was spent, reasons. The
// arbiter, the tests and decide() itself all use this, so they cannot disagree. Pages are the arbiter's business.
void remember(Client&, const Decision&, Time now);
void remember(State&, const Decisions&, Time now);

// The client a decision names; nothing for WakeAt.
std::optional<ClientId> client_of(const Decision&);

}  // namespace lull::policy
