#include "tests/interpose/rows.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

namespace interpose {

const std::vector<Row>& rows() {
#define HOOK(symbol, name, since, stream, ...) \
  Row{#symbol,                                 \
      #name,                                   \
      since,                                   \
      sizeof #stream > 1,                      \
      #__VA_ARGS__,                            \
      reinterpret_cast<void*>(&::symbol),      \
      &Caller<decltype(::symbol)>::call},
  static const std::vector<Row> all{
#include "shim/hooks.def"
  };
#undef HOOK
  return all;
}

const Row* expected(std::string_view name, int version, bool per_thread) {
  const Row* best = nullptr;
  for (const Row& row : rows())
    if (row.name == name && row.since <= version && row.per_thread == per_thread && (!best || row.since >= best->since))
      best = &row;
  return best || !per_thread ? best : expected(name, version, false);
}

}  // namespace interpose
