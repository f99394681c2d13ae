#include "tests/driver/ptx/operations.h"

#include <algorithm>
#include <vector>

#include "tests/driver/ptx/operation_rows.h"

namespace lull::ptx {
namespace {

constexpr Operation kOperations[] = {
#define OP(name, handler, d, a, b, c) {name, 0, Type::d, {Type::a, Type::b, Type::c, Type::none}},
#define OP4(name, handler, to, a, b, c, d) {name, 0, Type::to, {Type::a, Type::b, Type::c, Type::d}},
#include "tests/driver/ptx/operations.def"
#include "tests/driver/ptx/operations_rare.def"
#undef OP4
#undef OP
};

bool before(const Operation& a, const Operation& b) { return a.name < b.name; }

std::vector<Operation>* sorted_operations() {
  auto* sorted = new std::vector<Operation>(std::begin(kOperations), std::end(kOperations));
  for (std::size_t i = 0; i < sorted->size(); ++i) (*sorted)[i].number = static_cast<std::uint16_t>(i);
  std::sort(sorted->begin(), sorted->end(), before);
  return sorted;
}

// Never destroyed: a driver must still answer while the process runs its exit handlers.
const std::vector<Operation>& operations() {
  static const auto* const sorted = sorted_operations();
  return *sorted;
}

}  // namespace

const Operation* operation_named(std::string_view name) {
  const auto& all = operations();
  const auto found = std::lower_bound(all.begin(), all.end(), Operation{name, 0, Type::none, {}}, before);
  return found != all.end() && found->name == name ? &*found : nullptr;
}

bool is_known_instruction(std::string_view base) {
  const auto& all = operations();
  const auto found = std::lower_bound(all.begin(), all.end(), Operation{base, 0, Type::none, {}}, before);
  return found != all.end() && found->name.starts_with(base) && found->name.substr(base.size()).starts_with('.');
}

}  // namespace lull::ptx
