// Puts the fragments that a kernel can reach together into one program, and the units of a link into one module.

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "tests/driver/ptx/unit.h"

namespace lull::ptx {
namespace {

constexpr std::uint64_t kSharedLimit = 227 * 1024;    // bytes a block
constexpr std::uint64_t kStackLimit = 64 * 1024;      // bytes of local memory a thread: a limit of the simulator
constexpr std::uint64_t kRowLimit = 4 * 1024 * 1024;  // bytes of registers a gang: a limit of the simulator
constexpr std::size_t kFunctionLimit = 1024;          // that one kernel reaches: a limit of the simulator
constexpr std::uint64_t kDynamicAlign = 16;

constexpr std::uint64_t aligned(std::uint64_t offset, std::uint64_t align) {
  return (offset + align - 1) / align * align;
}

Error error_at(const Place& place, std::string message) { return {std::move(message), place.line, place.column}; }

// The units together: who a name means depends on the unit that says it.
class Linker {
 public:
  Linker(std::vector<Unit> units, std::size_t& failing) : units_(std::move(units)), failing_(failing) {}

  std::variant<Module, Error> link();

 private:
  struct Node {
    const Function* function;  // null: the kernel
    const Fragment* body;
    std::size_t unit;
    std::vector<std::size_t> callees;  // in the order of body->calls
    std::set<std::size_t> reaches;
  };
  struct Definition {
    std::size_t unit;
    const Function* function;
  };

  bool fail(std::size_t unit, const Place& place, std::string message);
  bool collect_definitions();
  bool merge_variables();
  const Function* definition(std::size_t unit, const std::string& name, std::size_t& owner) const;
  bool link_kernel(std::size_t unit, UnitKernel& kernel);
  bool reach(std::size_t unit, const Fragment& body);
  void close_reach();
  bool place_shared(Kernel& kernel);
  void assemble(Kernel& kernel);
  void append(const Node& node, Program& out, std::uint32_t code_base, std::uint32_t row_base);
  void plan_stack(Kernel& kernel, Program& out) const;
  std::pair<std::uint64_t, std::uint32_t> deepest(std::size_t node,
                                                  std::vector<std::pair<std::uint64_t, std::uint32_t>>& known) const;

  std::vector<Unit> units_;
  std::size_t& failing_;
  std::optional<Error> error_;
  Module module_;
  std::map<std::string, Definition, std::less<>> visible_;
  std::vector<std::vector<std::int32_t>> variable_of_;  // by unit and its number there
  std::vector<Node> nodes_;                             // of the kernel being linked, itself first
  std::map<std::string, std::uint64_t, std::less<>> shared_of_module_;
  std::vector<std::vector<std::uint64_t>> shared_at_;  // by node and its number there
  std::uint64_t shared_bytes_ = 0;
};

bool Linker::fail(std::size_t unit, const Place& place, std::string message) {
  failing_ = unit;
  error_ = error_at(place, std::move(message));
  return false;
}

std::variant<Module, Error> Linker::link() {
  if (!collect_definitions() || !merge_variables()) return *error_;
  std::set<std::string, std::less<>> names;
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    module_.target = std::max(module_.target, units_[unit].target);
    for (UnitKernel& kernel : units_[unit].kernels) {
      if (!names.insert(kernel.kernel.name).second) {
        (void)fail(unit, kernel.body.place,
                   "kernel '" + kernel.kernel.name + "' is defined in two of the linked texts");
        return *error_;
      }
      if (!link_kernel(unit, kernel)) return *error_;
      module_.kernels.push_back(std::move(kernel.kernel));
    }
  }
  return std::move(module_);
}

// A weak function gives way to any other of its name.
bool Linker::collect_definitions() {
  for (std::size_t unit = 0; unit < units_.size(); ++unit)
    for (const auto& [name, function] : units_[unit].functions) {
      if (!function.is_defined || function.linkage == Linkage::own) continue;
      const auto [entry, is_new] = visible_.try_emplace(name, Definition{unit, &function});
      if (is_new || function.linkage == Linkage::weak) continue;
      if (entry->second.function->linkage != Linkage::weak)
        return fail(unit, function.body.place, "function '" + name + "' is defined in two of the linked texts");
      entry->second = {unit, &function};
    }
  return true;
}

bool Linker::merge_variables() {
  std::map<std::string, std::pair<std::int32_t, Linkage>, std::less<>> shared_names;
  for (std::size_t unit = 0; unit < units_.size(); ++unit) {
    auto& numbers = variable_of_.emplace_back();
    for (const auto& [variable, linkage, place] : units_[unit].variables) {
      auto number = static_cast<std::int32_t>(module_.variables.size());
      if (linkage == Linkage::visible || linkage == Linkage::weak) {
        const auto [entry, is_new] = shared_names.try_emplace(variable.name, number, linkage);
        if (!is_new && linkage == Linkage::visible && entry->second.second == Linkage::visible)
          return fail(unit, place, "variable '" + variable.name + "' is defined in two of the linked texts");
        if (!is_new) number = entry->second.first;
        if (!is_new && linkage == Linkage::visible)
          module_.variables[static_cast<std::size_t>(number)] = variable, entry->second.second = linkage;
      }
      numbers.push_back(linkage == Linkage::external ? -1 : number);
      if (linkage != Linkage::external && number == static_cast<std::int32_t>(module_.variables.size()))
        module_.variables.push_back(variable);
    }
  }
  for (std::size_t unit = 0; unit < units_.size(); ++unit)
    for (std::size_t i = 0; i < variable_of_[unit].size(); ++i) {
      if (variable_of_[unit][i] >= 0) continue;
      const auto& [variable, linkage, place] = units_[unit].variables[i];
      const auto found = shared_names.find(variable.name);
      if (found == shared_names.end())
        return fail(unit, place, "variable '" + variable.name + "' is declared .extern and defined nowhere");
      variable_of_[unit][i] = found->second.first;
    }
  // Addresses in initial values name variables by their number in the unit that defines the value.
  for (std::size_t unit = 0; unit < units_.size(); ++unit)
    for (std::size_t i = 0; i < units_[unit].variables.size(); ++i) {
      if (units_[unit].variables[i].linkage == Linkage::external) continue;
      const auto number = static_cast<std::size_t>(variable_of_[unit][i]);
      const auto& own = units_[unit].variables[i].variable;
      auto& merged = module_.variables[number];
      if (merged.initial != own.initial || merged.addresses.size() != own.addresses.size()) continue;
      for (std::size_t k = 0; k < own.addresses.size(); ++k)
        merged.addresses[k].variable = variable_of_[unit][static_cast<std::size_t>(own.addresses[k].variable)];
    }
  return true;
}

const Function* Linker::definition(std::size_t unit, const std::string& name, std::size_t& owner) const {
  const auto own = units_[unit].functions.find(name);
  owner = unit;
  if (own != units_[unit].functions.end() && own->second.is_defined && own->second.linkage != Linkage::weak)
    return &own->second;
  const auto found = visible_.find(name);
  if (found == visible_.end()) return nullptr;
  owner = found->second.unit;
  return found->second.function;
}

// Breadth first from the kernel; each function once.
bool Linker::reach(std::size_t unit, const Fragment& body) {
  nodes_.clear();
  nodes_.push_back({nullptr, &body, unit, {}, {}});
  std::map<const Function*, std::size_t> numbers;
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    for (std::size_t c = 0; c < nodes_[i].body->calls.size(); ++c) {
      const CallSite& call = nodes_[i].body->calls[c];
      const std::size_t caller_unit = nodes_[i].unit;
      std::size_t owner = 0;
      const Function* const callee = definition(caller_unit, call.callee, owner);
      if (callee == nullptr)
        return fail(caller_unit, call.place, "function '" + call.callee + "' is declared and defined nowhere");
      const auto declared = units_[caller_unit].functions.find(call.callee);
      if (!(declared->second.prototype == callee->prototype))
        return fail(caller_unit, call.place,
                    "function '" + call.callee + "' is defined with other parameters than declared here");
      const auto [entry, is_new] = numbers.try_emplace(callee, nodes_.size());
      if (is_new) nodes_.push_back({callee, &callee->body, owner, {}, {}});
      nodes_[i].callees.push_back(entry->second);
      if (nodes_.size() > kFunctionLimit)
        return fail(unit, body.place, "kernel '" + body.name + "' reaches more functions than the simulator links");
    }
  close_reach();
  return true;
}

void Linker::close_reach() {
  for (Node& node : nodes_) {
    std::vector<std::size_t> open = node.callees;
    while (!open.empty()) {
      const std::size_t next = open.back();
      open.pop_back();
      if (!node.reaches.insert(next).second) continue;
      open.insert(open.end(), nodes_[next].callees.begin(), nodes_[next].callees.end());
    }
  }
}

bool Linker::place_shared(Kernel& kernel) {
  shared_of_module_.clear();
  shared_at_.clear();
  shared_bytes_ = 0;
  std::uint64_t dynamic_align = 1;
  for (const Node& node : nodes_) {
    auto& places = shared_at_.emplace_back();
    for (const SharedUse& use : node.body->shared) {
      if (use.is_dynamic) dynamic_align = std::max({dynamic_align, use.align, kDynamicAlign});
      const auto known =
          use.name.empty() ? shared_of_module_.end() : shared_of_module_.find(std::to_string(node.unit) + use.name);
      if (use.is_dynamic || known != shared_of_module_.end()) {
        places.push_back(use.is_dynamic ? 0 : known->second);
        continue;
      }
      places.push_back(aligned(shared_bytes_, use.align));
      shared_bytes_ = places.back() + use.size;
      if (!use.name.empty()) shared_of_module_.emplace(std::to_string(node.unit) + use.name, places.back());
    }
  }
  // Dynamic shared memory starts right after static memory, so its alignment is part of the static size.
  kernel.shared_bytes = aligned(shared_bytes_, dynamic_align);
  return kernel.shared_bytes <= kSharedLimit || fail(nodes_[0].unit, nodes_[0].body->place,
                                                     "kernel '" + kernel.name + "' uses more than " +
                                                         std::to_string(kSharedLimit) + " bytes of shared memory");
}

bool Linker::link_kernel(std::size_t unit, UnitKernel& kernel) {
  if (!reach(unit, kernel.body) || !place_shared(kernel.kernel)) return false;
  std::uint64_t rows = 0;
  for (const Node& node : nodes_) rows += node.body->program.row_bytes;
  if (rows > kRowLimit)
    return fail(unit, kernel.body.place,
                "kernel '" + kernel.kernel.name + "' and its functions use more registers than the simulator keeps");
  assemble(kernel.kernel);
  return kernel.kernel.local_bytes <= kStackLimit ||
         fail(unit, kernel.body.place,
              "kernel '" + kernel.kernel.name + "' and its functions use more than " + std::to_string(kStackLimit) +
                  " bytes of local memory");
}

void Linker::assemble(Kernel& kernel) {
  Program out;
  std::vector<std::uint32_t> starts;
  std::uint32_t code = 0;
  for (const Node& node : nodes_) {
    starts.push_back(code);
    code += static_cast<std::uint32_t>(node.body->program.code.size());
  }
  out.code.reserve(code);
  out.row_bytes = kStackPointerBytes;
  kernel.registers = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    const std::uint32_t row_base = out.row_bytes - kStackPointerBytes;
    append(node, out, starts[i], row_base);
    for (const ConstantRow& constant : node.body->program.constants) {
      ConstantRow moved = constant;
      moved.row += row_base;
      if (constant.variable >= 0) moved.variable = variable_of_[node.unit][static_cast<std::size_t>(constant.variable)];
      if (constant.shared >= 0) {
        const auto number = static_cast<std::size_t>(constant.shared);
        moved.value += node.body->shared[number].is_dynamic ? kernel.shared_bytes : shared_at_[i][number];
      }
      out.constants.push_back(moved);
    }
    for (std::size_t c = 0; c < node.callees.size(); ++c) {
      const std::uint32_t at = starts[i] + node.body->calls[c].at;
      out.code[at].target = starts[node.callees[c]];
      out.code[at].immediate = static_cast<std::int64_t>(out.calls.size());
      Call call{.returns_to = at + 1,
                .frame_bytes = node.body->frame_bytes,
                .callee_bytes = nodes_[node.callees[c]].body->frame_bytes,
                .saved = {}};
      if (node.function != nullptr && nodes_[node.callees[c]].reaches.contains(i))
        for (const SavedRow& saved : node.body->registers) call.saved.push_back({saved.row + row_base, saved.bytes});
      out.calls.push_back(std::move(call));
    }
    kernel.registers += static_cast<unsigned>(node.body->registers.size());
  }
  plan_stack(kernel, out);
  kernel.program = std::make_shared<const Program>(std::move(out));
}

// Row 0 is the same for all; every other row moves by row_base.
void Linker::append(const Node& node, Program& out, std::uint32_t code_base, std::uint32_t row_base) {
  const Program& from = node.body->program;
  for (Instruction in : from.code) {
    for (std::uint32_t& row : in.row)
      if (row != 0) row += row_base;
    if (in.guarded) in.guard += row_base;
    if (in.control == Control::branch) in.target += code_base;
    out.code.push_back(in);
  }
  for (SpecialRow special : from.specials) {
    special.row += row_base;
    out.specials.push_back(special);
  }
  out.uses_barriers = out.uses_barriers || from.uses_barriers;
  out.row_bytes += from.row_bytes - kStackPointerBytes;
}

// Without recursion the deepest chain of calls is known; with it, the stack has the size that the header promises.
void Linker::plan_stack(Kernel& kernel, Program& out) const {
  bool is_recursive = false;
  for (std::size_t i = 0; i < nodes_.size(); ++i) is_recursive = is_recursive || nodes_[i].reaches.contains(i);
  if (is_recursive) {
    kernel.local_bytes = nodes_[0].body->frame_bytes + kRecursionStack;
    out.call_depth = kRecursionDepth;
    out.save_bytes = kRecursionStack;
    return;
  }
  std::vector<std::pair<std::uint64_t, std::uint32_t>> known(nodes_.size());
  std::tie(kernel.local_bytes, out.call_depth) = deepest(0, known);
}

std::pair<std::uint64_t, std::uint32_t> Linker::deepest(
    std::size_t node, std::vector<std::pair<std::uint64_t, std::uint32_t>>& known) const {
  auto& [bytes, depth] = known[node];
  if (bytes != 0 || depth != 0) return known[node];
  std::uint64_t below = 0;
  for (const std::size_t callee : nodes_[node].callees) {
    const auto of_callee = deepest(callee, known);
    below = std::max(below, of_callee.first);
    depth = std::max(depth, of_callee.second + 1);
  }
  bytes = nodes_[node].body->frame_bytes + below;
  return known[node];
}

}  // namespace

bool Prototype::operator==(const Prototype& other) const {
  const auto same = [](const Formal& a, const Formal& b) {
    return a.size == b.size && a.align == b.align && a.is_register == b.is_register;
  };
  return std::ranges::equal(results, other.results, same) && std::ranges::equal(parameters, other.parameters, same);
}

std::variant<Module, Error> link_units(std::vector<Unit> units, std::size_t& unit) {
  return Linker(std::move(units), unit).link();
}

}  // namespace lull::ptx
