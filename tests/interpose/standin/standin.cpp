#include "tests/interpose/standin/standin.h"

#include <execinfo.h>

#include <atomic>
#include <cstring>

#include "tests/interpose/standin/lookup.h"

namespace {

using Arg = std::uint64_t;
// More arguments than any driver function has; a call with fewer leaves the rest to chance.
#define PARAMETERS                                                                                                \
  Arg a, Arg b, Arg c, Arg d, Arg e, Arg f, Arg g, Arg h, Arg i, Arg j, Arg k, Arg l, Arg m, Arg n, Arg o, Arg p, \
      Arg q, Arg r
#define ARGUMENTS \
  { a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r }
using Function = int(PARAMETERS);

enum Id : unsigned {
#define HOOK(symbol, ...) id_##symbol,
#include "shim/hooks.def"
#undef HOOK
  id_count
};

constexpr int first_result = 100000;

StandinCall calls[id_count];
std::atomic<unsigned long> counts[id_count];
thread_local unsigned long calls_of_this_thread[id_count];
bool aliases = false;
std::atomic<bool> works{false};
std::atomic<int> failures[id_count];  // of the next call; 0: none

template <typename T>
int answer(Arg place, T value) {
  if (place) *reinterpret_cast<T*>(place) = value;
  return 0;
}

// The answers that the shim needs before it manages a process; handles are not null.
int succeed(unsigned id, const Arg (&arguments)[18]) {
  constexpr Arg handle = 0x1000, card_bytes = 1 << 30;
  switch (id) {
    case id_cuDeviceGetCount: return answer(arguments[0], 1);
    case id_cuDeviceTotalMem_v2: return answer(arguments[0], card_bytes);
    case id_cuMemGetInfo_v2: return answer(arguments[0], card_bytes), answer(arguments[1], card_bytes);
    case id_cuDevicePrimaryCtxRetain:
    case id_cuCtxGetCurrent: return answer(arguments[0], handle + id_cuCtxGetCurrent);
    case id_cuStreamCreate:
    case id_cuStreamCreateWithPriority:
    case id_cuGreenCtxStreamCreate:
    case id_cuEventCreate: return answer(arguments[0], handle + id);
    case id_cuStreamGetCtx: return answer(arguments[1], handle + id_cuCtxGetCurrent);
    default: return 0;
  }
}

[[gnu::noinline]] int note(unsigned id, const Arg (&arguments)[18]) {
  void* frames[10] = {};
  ::backtrace(frames, 10);
  counts[id].fetch_add(1);
  ++calls_of_this_thread[id];
  std::memcpy(calls[id].arguments, arguments, sizeof arguments);
  std::memcpy(calls[id].callers, frames + 2, sizeof calls[id].callers);  // without note() and the function itself
  if (const int failure = failures[id].exchange(0)) return failure;
  return works ? succeed(id, arguments) : first_result + static_cast<int>(id);
}

template <unsigned id>
[[gnu::noinline]] int alias(PARAMETERS) {
  return note(id, ARGUMENTS);
}

}  // namespace

extern "C" {
#define HOOK(symbol, ...) \
  [[gnu::weak]] int symbol(PARAMETERS) { return note(id_##symbol, ARGUMENTS); }
#include "shim/hooks.def"
#undef HOOK

int cuUnheardOf() { return first_result - 1; }  // a function newer than the table
}

namespace {

struct Entry {
  const char* symbol;
  const char* name;
  int since;
  bool per_thread;
  Function* function;
  Function* alias;
};

#define HOOK(symbol, name, since, stream, ...) \
  {#symbol, #name, since, sizeof #stream > 1, reinterpret_cast<Function*>(&::symbol), &alias<id_##symbol>},
const Entry entries[] = {
#include "shim/hooks.def"
};
#undef HOOK

int id_of(const char* symbol) {
  for (int id = 0; id < static_cast<int>(id_count); ++id)
    if (std::strcmp(entries[id].symbol, symbol) == 0) return id;
  return -1;
}

const Entry* newest(const char* name, int version, bool per_thread) {
  const Entry* found = nullptr;
  for (const Entry& entry : entries)
    if (std::strcmp(entry.name, name) == 0 && entry.since <= version && entry.per_thread == per_thread &&
        (!found || entry.since >= found->since))
      found = &entry;
  return found || !per_thread ? found : newest(name, version, false);
}

bool known(const char* name) {
  for (const Entry& entry : entries)
    if (std::strcmp(entry.name, name) == 0) return true;
  return false;
}

void* answer(const char* name, int version, std::uint64_t flags) {
  if (std::strcmp(name, "cuUnheardOf") == 0) return reinterpret_cast<void*>(&cuUnheardOf);
  const Entry* entry = newest(name, version, (flags & 2) != 0);
  if (!entry) return nullptr;
  return reinterpret_cast<void*>(aliases ? entry->alias : entry->function);
}

}  // namespace

extern "C" {

int standin_note_lookup(const char* symbol, const char* name, void** function, int version, std::uint64_t flags) {
  standin_count(symbol);
  if (!name || !*name || !function) return invalid_value;
  *function = answer(name, version, flags);
  return *function ? 0 : known(name) ? version_too_low : unknown_name;
}

StandinCall standin_call(const char* symbol) {
  const int id = id_of(symbol);
  if (id < 0) return {};
  StandinCall call = calls[id];
  call.count = counts[id].load();
  return call;
}

void standin_work() { works = true; }
unsigned long standin_calls_of_this_thread(const char* symbol) { return calls_of_this_thread[id_of(symbol)]; }

void standin_fail_once(const char* symbol, int result) { failures[id_of(symbol)] = result; }

void standin_forget(const char* symbol) {
  const int id = id_of(symbol);
  if (id < 0) return;
  counts[id] = 0;
  calls[id] = {};
}

void standin_count(const char* symbol) {
  counts[id_of(symbol)].fetch_add(1);
  ++calls_of_this_thread[id_of(symbol)];
}

void* standin_address(const char* symbol) {
  const int id = id_of(symbol);
  return id < 0 ? nullptr : reinterpret_cast<void*>(entries[id].function);
}

int standin_result(const char* symbol) { return first_result + id_of(symbol); }
void standin_answer_aliases(int on) { aliases = on != 0; }

}  // extern "C"
