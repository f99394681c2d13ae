#include "tests/driver/ptx/symbols.h"

#include <charconv>

namespace lull::ptx {

bool Scopes::declare(std::string_view name, Type type) {
  Scope& scope = scopes_.back();
  if (scope.symbols.contains(name)) return false;
  return scope.registers.try_emplace(std::string(name), Declared{type, std::nullopt}).second;
}

bool Scopes::declare(std::string_view name, const Symbol& symbol) {
  Scope& scope = scopes_.back();
  if (scope.registers.contains(name)) return false;
  return scope.symbols.try_emplace(std::string(name), symbol).second;
}

bool Scopes::declare_range(std::string_view prefix, std::uint64_t count, Type type) {
  return scopes_.back().ranges.try_emplace(std::string(prefix), Range{count, type}).second;
}

// A range holds its registers without listing them: the text may declare a billion and use two.
Scopes::Declared* Scopes::find_declared(Scope& scope, std::string_view name) {
  if (const auto found = scope.registers.find(name); found != scope.registers.end()) return &found->second;
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  if (digits == 0 || digits >= name.size()) return nullptr;
  if (name[digits] == '0' && digits + 1 != name.size()) return nullptr;
  const auto range = scope.ranges.find(name.substr(0, digits));
  if (range == scope.ranges.end()) return nullptr;
  std::uint64_t number = 0;
  const auto parsed = std::from_chars(name.data() + digits, name.data() + name.size(), number);
  if (parsed.ec != std::errc{} || number >= range->second.count) return nullptr;
  return &scope.registers.try_emplace(std::string(name), Declared{range->second.type, std::nullopt}).first->second;
}

std::optional<Register> Scopes::find_register(std::string_view name) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (scope->symbols.contains(name)) return std::nullopt;
    Declared* const declared = find_declared(*scope, name);
    if (declared == nullptr) continue;
    if (!declared->row) {
      declared->row = builder_.new_row(bytes_of(declared->type));
      registers_used_.push_back({*declared->row, bytes_of(declared->type)});
    }
    return Register{*declared->row, declared->type};
  }
  return std::nullopt;
}

const Symbol* Scopes::find_symbol(std::string_view name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (scope->registers.contains(name)) return nullptr;
    if (const auto found = scope->symbols.find(name); found != scope->symbols.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace lull::ptx
