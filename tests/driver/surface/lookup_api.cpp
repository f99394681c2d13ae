// cuGetProcAddress: the newest version of a name that is not newer than what is asked for.
#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/driver/surface/api.h"

namespace lull::sim {
namespace {

struct Row {
  int since;
  bool per_thread;
  void* address;
};
using Table = std::unordered_map<std::string_view, std::vector<Row>>;

// Linked with -Bsymbolic: the addresses are this library's own, whatever is preloaded in front of it.
const Table& table() {
  static const Table& made = *new Table([] {
    Table rows;
#define NAME(symbol, base, since, suffix) \
  rows[base].push_back({since, std::string_view(suffix) != "", reinterpret_cast<void*>(&::symbol)});
#include "tests/driver/surface/names.inc"
#undef NAME
    return rows;
  }());
  return made;
}

const Row* newest(const std::vector<Row>& rows, int version, bool per_thread) {
  const Row* best = nullptr;
  for (const Row& row : rows) {
    if (row.per_thread == per_thread && row.since <= version && (!best || row.since > best->since)) best = &row;
  }
  return best;
}

CUresult look_up(const char* symbol, void** pfn, int version, cuuint64_t flags,
                 CUdriverProcAddressQueryResult* status) {
  if (!symbol || !pfn || version > CUDA_VERSION || flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
    return CUDA_ERROR_INVALID_VALUE;
  CUdriverProcAddressQueryResult ignored{};
  if (!status) status = &ignored;
  *pfn = nullptr;
  *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  const auto found = table().find(symbol);
  if (found == table().end()) return CUDA_SUCCESS;
  const Row* row =
      flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM ? newest(found->second, version, true) : nullptr;
  if (!row) row = newest(found->second, version, false);
  *status = row ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
  if (row) *pfn = row->address;
  return CUDA_SUCCESS;
}

}  // namespace

namespace api {

CUresult cuGetProcAddress(const char* symbol, void** pfn, int version, cuuint64_t flags) {
  return look_up(symbol, pfn, version, flags, nullptr);
}

CUresult cuGetProcAddress_v2(const char* symbol, void** pfn, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult* status) {
  return look_up(symbol, pfn, version, flags, status);
}

// There are no private interfaces here, and none will be imitated.
CUresult cuGetExportTable(const void** table, const CUuuid*) {
  if (table) *table = nullptr;
  return CUDA_ERROR_NOT_FOUND;
}

}  // namespace api
}  // namespace lull::sim
