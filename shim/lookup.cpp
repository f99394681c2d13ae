#include "shim/lookup.h"

#include <atomic>

#include "shim/driver.h"
#include "shim/observe.h"
#include "shim/protection.h"
#include "shim/rows.h"

namespace lull::lookup {
namespace {

std::atomic<unsigned long> unknown{0};
std::atomic<unsigned long> guessed{0};

void count(std::atomic<unsigned long>& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

bool passes(unsigned row) { return row_at(row).pass && !observe::sees(row); }
void* answer(unsigned row, void* found) { return passes(row) ? found : export_address(row); }

bool all_pass(Rows rows) {
  for (unsigned row = rows.first; row < rows.last; ++row)
    if (!passes(row)) return false;
  return true;
}

Rows rows_meant_by(const char* name) {
  const Rows rows = rows_of_name(name);
  if (!rows.empty()) return rows;
  const auto row = row_of_symbol(name);  // some ask for cuMemAlloc_v2
  return row ? Rows{*row, *row + 1} : Rows{};
}

void* replace(const char* name, void* found, int version, cuuint64_t flags) {
  const Rows rows = rows_meant_by(name);
  if (rows.empty()) {
    count(unknown);
    if (observe::wanted()) observe::asked_for_unknown(name);
    return found;
  }
  if (all_pass(rows)) return found;
  if (!on(Protection::driver_first)) version = 1 << 30, flags = 0;
  for (unsigned row = rows.first; row < rows.last && on(Protection::driver_first); ++row)
    if (driver_address(row, Load::yes) == found) return answer(row, found);
  count(guessed);
  const bool per_thread = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
  const auto row = newest_of(rows, version, per_thread ? Stream::per_thread : Stream::legacy);
  return row ? answer(*row, found) : found;
}

void replace_answer(CUresult result, const char* name, void** function, int version, cuuint64_t flags) {
  if (observe::wanted()) observe::came_by(observe::Route::proc_address);
  if (result == CUDA_SUCCESS && name && function && *function) *function = replace(name, *function, version, flags);
}

}  // namespace

CUresult get_proc_address(const char* name, void** function, int version, cuuint64_t flags) {
  const CUresult result = real::cuGetProcAddress(name, function, version, flags);
  replace_answer(result, name, function, version, flags);
  return result;
}

CUresult get_proc_address(const char* name, void** function, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult* status) {
  const CUresult result = real::cuGetProcAddress_v2(name, function, version, flags, status);
  replace_answer(result, name, function, version, flags);
  return result;
}

void* by_symbol(void* handle, const char* symbol, void* found) {
  const auto row = row_of_symbol(symbol);
  if (!row && handle == driver(Load::no)) {
    count(unknown);
    if (observe::wanted()) observe::asked_for_unknown(symbol);
  }
  if (row && observe::wanted()) observe::came_by(observe::Route::dlsym);
  if (!row || passes(*row)) return found;
  // Another library's function of the same name is none of our business.
  return driver_address(*row, Load::no) == found ? export_address(*row) : found;
}

unsigned long unknown_count() { return unknown.load(std::memory_order_relaxed); }
unsigned long guessed_count() { return guessed.load(std::memory_order_relaxed); }

}  // namespace lull::lookup
