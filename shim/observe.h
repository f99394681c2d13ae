// shim/observe.h: LULL=observe. The shim manages nothing, and keeps account of what the program does that it would not
// move, would hold back, or would not see. The account is written when the program ends (observe_report.cpp).
//
// The accounting stands between real::X and the driver: where a row is resolved (driver.cpp), the word that leads to
// the driver leads to an observer instead, and look-ups answer our exports. A process that does not observe has the
// driver's addresses in its words and pays nothing.
#pragma once
#include <atomic>
#include <cstdint>

#include "shim/lock.h"
#include "shim/real.h"

namespace lull::observe {

// What holds memory, in the order of the report.
enum class Kind : unsigned {
  allocated,
  own_virtual,
  managed,  // these three Lull would move
  pool,
  array,
  graph,
  exported,
  ipc,
  imported,
  multicast,
  narrow,
  host,
  registered,
  created,  // handles of cuMemCreate, by ~handle, until they are mapped: not reported
  count
};

enum class Route : unsigned { dlsym, proc_address, deep_bind, other_namespace, private_table, count };

struct Sum {
  std::uint64_t count, bytes, peak;
};

inline constexpr unsigned kinds = static_cast<unsigned>(Kind::count), routes = static_cast<unsigned>(Route::count);
inline constexpr unsigned max_unknown = 32, name_bytes = 64;

// For readers; under the account's lock.
struct Totals {
  Sum sums[kinds];
  std::uint64_t routes[observe::routes];
  std::uint64_t contexts, modules, unknown_count;
  char unknown[max_unknown][name_bytes];
};

bool wanted();  // LULL=observe

// For driver.cpp: the address to call for a row, given the driver's; and back.
void* entry(unsigned row, void* driver_address);
void* behind(unsigned row, void* address);
bool sees(unsigned row);  // a look-up must lead through our export

void came_by(Route route);
void asked_for_unknown(const char* name);  // a function that the table does not have

// For the observers (observers.cpp). A key is a pointer or a handle; kinds have no keys in common.
void called(unsigned row);
void add(Kind kind, std::uint64_t key, std::uint64_t bytes);
void once(Kind kind, std::uint64_t bytes);  // never taken away again, as far as can be seen
bool take(std::uint64_t key, Kind* kind, std::uint64_t* bytes);
void give_back(std::uint64_t key, Kind kind, std::uint64_t bytes);  // what was taken is there after all
Kind kind_of(std::uint64_t key, Kind otherwise);
std::uint64_t bytes_of_key(std::uint64_t key);  // 0: not known
void made_context();
void loaded_module();

// For the report.
std::uint64_t calls(unsigned row);
bool used();  // this process has called the driver
void read(Totals& totals);
struct Scratch {
  Mutex mutex;
  char text[16 << 10];
};
Scratch* report_scratch();  // once used()
void report_now(bool at_end);

}  // namespace lull::observe
