#pragma once

// One text, parsed: kernels and functions as fragments of code that a link puts together.
//
// A fragment has rows, instructions and shared variables of its own, all counted from zero. For every kernel the link
// lays the fragments that it can reach behind each other and moves their numbers. Row 0 is common to all: the stack
// pointer, an offset in the thread's local memory, where every call in progress has a frame:
//
//     results, parameters, then .local and .param variables  |  the frame of the function it calls ...

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "tests/driver/ptx/program.h"
#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/types.h"

namespace lull::ptx {

enum class Linkage : std::uint8_t { own, visible, weak, external };  // external: declared here, defined elsewhere

struct Place {
  int line = 0;
  int column = 0;
};

struct CallSite {
  std::uint32_t at = 0;  // its Control::call
  std::string callee;
  Place place;
};

// A shared variable that a fragment uses; those of the module are the same one in every fragment.
struct SharedUse {
  std::string name;  // of the module's variable, or empty
  std::uint64_t size = 0;
  std::uint64_t align = 1;
  bool is_dynamic = false;
};

struct Fragment {
  std::string name;
  Place place;
  Program program;
  std::vector<CallSite> calls;
  std::vector<SharedUse> shared;
  std::uint64_t frame_bytes = 0;
  std::vector<SavedRow> registers;  // what a call that may come back to this function has to save
};

// How a function is called: results and parameters lie at the start of its frame.
struct Formal {
  std::string name;
  Type type = Type::none;  // of a register, or of one element
  bool is_register = false;
  std::uint64_t size = 0, align = 1, offset = 0;
};
struct Prototype {
  std::vector<Formal> results, parameters;
  std::uint64_t bytes = 0;

  bool operator==(const Prototype& other) const;
};

struct Function {
  Prototype prototype;
  Linkage linkage = Linkage::own;
  bool is_defined = false;
  Fragment body;
};

struct UnitKernel {
  Kernel kernel;
  Fragment body;
};

struct UnitVariable {
  Variable variable;
  Linkage linkage = Linkage::own;
  Place place;
};

struct Unit {
  unsigned target = 0;  // 75 for sm_75
  std::vector<UnitKernel> kernels;
  std::map<std::string, Function, std::less<>> functions;
  std::vector<UnitVariable> variables;
};

// Parses one text without looking for what it only declares.
std::variant<Unit, Error> parse_unit(std::string_view text, const Limits& limits);

// One module of all; an error has a place in the unit whose number `unit` receives.
std::variant<Module, Error> link_units(std::vector<Unit> units, std::size_t& unit);

}  // namespace lull::ptx
