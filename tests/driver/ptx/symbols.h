#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/ptx/builder.h"
#include "tests/driver/ptx/types.h"

namespace lull::ptx {

enum class Space : std::uint8_t { generic, global, constant, shared, local, parameter };

// A variable of the text: where it lies in its space.
struct Symbol {
  Space space = Space::global;
  std::uint64_t offset = 0;    // in shared, local or parameter memory
  std::uint64_t size = 0;      // bytes
  std::uint64_t align = 1;     // bytes
  std::int32_t variable = -1;  // index into Module::variables
  bool is_dynamic = false;     // .extern .shared: starts where static shared memory ends
  std::int32_t shared = -1;    // number among the shared variables of the fragment
  bool in_frame = false;       // a .param variable: at `offset` in the frame of its function
};

template <class T>
using Names = std::map<std::string, T, std::less<>>;

struct Register {
  std::uint32_t row = 0;
  Type type = Type::none;
};

// The names of a kernel, scope within scope: { } of PTX.
class Scopes {
 public:
  explicit Scopes(Builder& builder) : builder_(builder) {}

  void open() { scopes_.emplace_back(); }
  void close() { scopes_.pop_back(); }
  std::size_t depth() const { return scopes_.size(); }

  // False if the innermost scope has the name already.
  bool declare(std::string_view name, Type type);
  bool declare(std::string_view name, const Symbol& symbol);
  // name0 to name(count - 1): .reg .b32 name<count>
  bool declare_range(std::string_view prefix, std::uint64_t count, Type type);

  // A register gets its row when the text first uses it.
  std::optional<Register> find_register(std::string_view name);
  const Symbol* find_symbol(std::string_view name) const;
  const std::vector<SavedRow>& registers_used() const { return registers_used_; }

 private:
  struct Range {
    std::uint64_t count = 0;
    Type type = Type::none;
  };
  struct Declared {
    Type type = Type::none;
    std::optional<std::uint32_t> row;
  };
  struct Scope {
    Names<Declared> registers;
    Names<Range> ranges;
    Names<Symbol> symbols;
  };
  Declared* find_declared(Scope& scope, std::string_view name);

  Builder& builder_;
  std::vector<Scope> scopes_;
  std::vector<SavedRow> registers_used_;
};

}  // namespace lull::ptx
