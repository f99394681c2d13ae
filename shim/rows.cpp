#include "shim/rows.h"

#include <array>
#include <cstring>
#include <string_view>

namespace lull {

void rows_of_one_name_must_stand_together();  // never defined: the compiler stops where a table would need it

namespace {

constexpr Row make_row(std::string_view symbol, std::string_view name, unsigned since, std::string_view stream,
                       std::string_view handler) {
  Row row{};
  for (std::size_t i = 0; i < symbol.size(); ++i) row.symbol[i] = symbol[i];
  row.symbol_length = static_cast<std::uint8_t>(symbol.size());
  row.name_length = static_cast<std::uint8_t>(name.size());
  row.stream = stream.empty() ? Stream::legacy : Stream::per_thread;
  row.pass = handler == "pass";
  row.gated = handler == "gated" || handler == "split";
  row.since = since;
  return row;
}

#define HOOK(symbol, name, since, stream, ...) make_row(#symbol, #name, since, #stream, #__VA_ARGS__),
constexpr Row table[] = {
#include "shim/hooks.def"
};
#undef HOOK
constexpr unsigned table_size = sizeof table / sizeof table[0];

#define HOOK(symbol, name, ...) static_assert(std::string_view(#symbol).starts_with(#name), #symbol ": wrong row");
#include "shim/hooks.def"
#undef HOOK

constexpr std::string_view symbol_of(unsigned row) { return {table[row].symbol, table[row].symbol_length}; }
constexpr std::string_view name_of(unsigned row) { return {table[row].symbol, table[row].name_length}; }

constexpr std::uint32_t hash(std::string_view text) {
  std::uint32_t h = 2166136261u;
  for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h ^ h >> 15;
}

// An open hash table built by the compiler: the first row of every key, 0 for an empty place, else row + 1.
constexpr unsigned places = 2048;
using Index = std::array<std::uint16_t, places>;
using Key = std::string_view (*)(unsigned);

template <Key key>
consteval Index build() {
  Index index{};
  for (unsigned row = 0; row < table_size; ++row) {
    if (row > 0 && key(row) == key(row - 1)) continue;
    unsigned place = hash(key(row)) % places;
    for (; index[place] != 0; place = (place + 1) % places)
      if (key(index[place] - 1u) == key(row)) rows_of_one_name_must_stand_together();
    index[place] = static_cast<std::uint16_t>(row + 1);
  }
  return index;
}

template <Key key>
std::optional<unsigned> find(std::string_view text) {
  static constexpr Index index = build<key>();
  for (unsigned place = hash(text) % places; index[place] != 0; place = (place + 1) % places)
    if (key(index[place] - 1u) == text) return index[place] - 1u;
  return std::nullopt;
}

}  // namespace

unsigned row_count() { return table_size; }
const Row& row_at(unsigned index) { return table[index]; }

std::optional<unsigned> row_of_symbol(const char* symbol) { return find<symbol_of>(symbol); }

Rows rows_of_name(const char* name) {
  const auto first = find<name_of>(name);
  if (!first) return {};
  unsigned last = *first + 1;
  while (last < table_size && name_of(last) == name_of(*first)) ++last;
  return {*first, last};
}

std::optional<unsigned> newest_of(Rows rows, int version, Stream stream) {
  std::optional<unsigned> newest;
  for (unsigned row = rows.first; row < rows.last; ++row) {
    if (table[row].stream != stream || static_cast<int>(table[row].since) > version) continue;
    if (!newest || table[row].since >= table[*newest].since) newest = row;
  }
  if (!newest && stream == Stream::per_thread) return newest_of(rows, version, Stream::legacy);
  return newest;
}

}  // namespace lull
