#include "shim/observe.h"

#include <sys/mman.h>

#include <cstring>

#include "shim/environment.h"
#include "shim/lock.h"
#include "shim/rows.h"

namespace lull::observe {
namespace {

constexpr unsigned rows = 0
#define HOOK(...) +1
#include "shim/hooks.def"
#undef HOOK
    ;
constexpr std::size_t places = 1 << 20;  // of memory known by its key; what finds no place is counted, and never freed

struct Place {
  std::uint64_t key;  // 0: free
  std::uint64_t bytes : 56, kind : 8;
};

// In memory that a forked child finds zeroed: a fresh account, with nobody's lock.
struct Account {
  std::atomic<bool> used;
  std::atomic<std::uint64_t> calls[rows];
  std::atomic<std::uint64_t> routes[observe::routes];
  std::atomic<std::uint64_t> contexts, modules, unknown_count;
  Scratch report;
  Mutex mutex;
  Sum sums[kinds];
  char unknown[max_unknown][name_bytes];
  Place table[places];
};

std::atomic<Account*> the_account{nullptr};
Account* const refused = reinterpret_cast<Account*>(1);

Account* make_account() {
  void* memory =
      ::mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return refused;
  // Without it (before 4.14) a child would report what its parent did.
  if (::madvise(memory, sizeof(Account), MADV_WIPEONFORK) == 0) return static_cast<Account*>(memory);
  (void)::munmap(memory, sizeof(Account));
  return refused;
}

// Null: no memory, or not asked for.
Account* account() {
  Account* known = the_account.load(std::memory_order_acquire);
  if (!known) {
    if (!environment().observe) return nullptr;
    Account* made = make_account();
    if (the_account.compare_exchange_strong(known, made))
      known = made;
    else if (made != refused)
      (void)::munmap(made, sizeof(Account));
  }
  return known == refused ? nullptr : known;
}

void count(std::atomic<std::uint64_t>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

// What has grown enough to be worth writing down before the end: to twice as often, or by an eighth of the bytes.
bool is_power_of_two(std::uint64_t value) { return (value & (value - 1)) == 0; }

std::size_t place_of(std::uint64_t key) { return key * 0x9e3779b97f4a7c15u >> 44; }
static_assert(places == 1ull << (64 - 44));

std::size_t next(std::size_t place) { return (place + 1) % places; }

Place* find(Account& a, std::uint64_t key) {
  std::size_t place = place_of(key);
  for (; a.table[place].key != 0; place = next(place))
    if (a.table[place].key == key) return &a.table[place];
  return nullptr;
}

bool insert(Account& a, std::uint64_t key, Kind kind, std::uint64_t bytes) {
  std::size_t place = place_of(key);
  for (std::size_t tried = 0; tried < 64; ++tried, place = next(place))
    if (a.table[place].key == 0) {
      a.table[place].key = key;
      a.table[place].bytes = bytes & ((1ull << 56) - 1);
      a.table[place].kind = static_cast<unsigned>(kind) & 0xff;
      return true;
    }
  return false;
}

// Moves those behind it up, so that no search ends too early.
void erase(Account& a, std::size_t gap) {
  for (std::size_t at = next(gap); a.table[at].key != 0; at = next(at)) {
    const std::size_t home = place_of(a.table[at].key);
    const bool stays = gap < at ? home > gap && home <= at : home > gap || home <= at;
    if (stays) continue;
    a.table[gap] = a.table[at];
    gap = at;
  }
  a.table[gap].key = 0;
}

// True: worth a report.
bool grow(Sum& sum, std::uint64_t bytes) {
  const std::uint64_t before = sum.peak;
  sum.bytes += bytes;
  ++sum.count;
  if (sum.bytes > sum.peak) sum.peak = sum.bytes;
  return is_power_of_two(sum.count) || sum.peak / 8 > before / 8 + before / 64;
}

bool take_locked(Account& a, std::uint64_t key, Kind* kind, std::uint64_t* bytes) {
  Place* place = find(a, key);
  if (!place) return false;
  *kind = static_cast<Kind>(place->kind);
  *bytes = place->bytes;
  erase(a, static_cast<std::size_t>(place - a.table));
  a.sums[static_cast<unsigned>(*kind)].bytes -= *bytes;
  return true;
}

}  // namespace

bool wanted() { return environment().observe; }

void came_by(Route route) {
  if (Account* a = account()) count(a->routes[static_cast<unsigned>(route)]);
}

void asked_for_unknown(const char* name) {
  Account* a = account();
  if (!a) return;
  const Locked locked(a->mutex);
  for (unsigned i = 0; i < max_unknown; ++i) {
    if (std::strncmp(a->unknown[i], name, name_bytes - 1) == 0) return;
    if (a->unknown[i][0]) continue;
    std::strncpy(a->unknown[i], name, name_bytes - 1);
    break;
  }
  count(a->unknown_count);
}

void called(unsigned row) {
  Account* a = account();
  if (!a) return;
  a->used.store(true, std::memory_order_relaxed);
  const std::uint64_t before = a->calls[row].fetch_add(1, std::memory_order_relaxed);
  if (is_power_of_two(before + 1)) report_now(false);
}

void add(Kind kind, std::uint64_t key, std::uint64_t bytes) {
  Account* a = account();
  if (!a || key == 0) return;
  bool worth = false;
  {
    const Locked locked(a->mutex);
    Kind before_kind;
    std::uint64_t before_bytes;
    (void)take_locked(*a, key, &before_kind, &before_bytes);  // freed in a way that is not seen
    if (insert(*a, key, kind, bytes))
      worth = grow(a->sums[static_cast<unsigned>(kind)], bytes);
    else
      ++a->sums[static_cast<unsigned>(kind)].count;
  }
  if (worth) report_now(false);
}

void once(Kind kind, std::uint64_t bytes) {
  Account* a = account();
  if (!a) return;
  bool worth = false;
  {
    const Locked locked(a->mutex);
    worth = grow(a->sums[static_cast<unsigned>(kind)], bytes);
  }
  if (worth) report_now(false);
}

bool take(std::uint64_t key, Kind* kind, std::uint64_t* bytes) {
  Account* a = account();
  if (!a || key == 0) return false;
  const Locked locked(a->mutex);
  return take_locked(*a, key, kind, bytes);
}

void give_back(std::uint64_t key, Kind kind, std::uint64_t bytes) {
  Account* a = account();
  if (!a) return;
  const Locked locked(a->mutex);
  if (insert(*a, key, kind, bytes)) a->sums[static_cast<unsigned>(kind)].bytes += bytes;
}

Kind kind_of(std::uint64_t key, Kind otherwise) {
  Account* a = account();
  if (!a) return otherwise;
  const Locked locked(a->mutex);
  const Place* place = find(*a, key);
  return place ? static_cast<Kind>(place->kind) : otherwise;
}

std::uint64_t bytes_of_key(std::uint64_t key) {
  Account* a = account();
  if (!a) return 0;
  const Locked locked(a->mutex);
  const Place* place = find(*a, key);
  return place ? place->bytes : 0;
}

void made_context() {
  if (Account* a = account()) count(a->contexts);
}
void loaded_module() {
  if (Account* a = account()) count(a->modules);
}

std::uint64_t calls(unsigned row) {
  const Account* a = account();
  return a ? a->calls[row].load(std::memory_order_relaxed) : 0;
}

// Asked at the end of every process: of one that does not observe, not even the environment is read.
bool used() {
  const Account* a = the_account.load(std::memory_order_acquire);
  return a && a != refused && a->used.load(std::memory_order_relaxed);
}

Scratch* report_scratch() { return &account()->report; }

void read(Totals& totals) {
  Account* a = account();
  if (!a) return;
  for (unsigned i = 0; i < routes; ++i) totals.routes[i] = a->routes[i].load(std::memory_order_relaxed);
  totals.contexts = a->contexts.load(std::memory_order_relaxed);
  totals.modules = a->modules.load(std::memory_order_relaxed);
  const Locked locked(a->mutex);
  totals.unknown_count = a->unknown_count.load(std::memory_order_relaxed);
  std::memcpy(totals.sums, a->sums, sizeof totals.sums);
  std::memcpy(totals.unknown, a->unknown, sizeof totals.unknown);
}

}  // namespace lull::observe
