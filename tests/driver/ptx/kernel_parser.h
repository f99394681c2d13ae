#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/driver/ptx/builder.h"
#include "tests/driver/ptx/declarations.h"
#include "tests/driver/ptx/operations.h"
#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/reader.h"
#include "tests/driver/ptx/symbols.h"
#include "tests/driver/ptx/unit.h"

namespace lull::ptx {

// Turns one .entry into a kernel: kernel_parser.cpp reads the frame, operands.cpp the operands, instructions.cpp and
// memory_instructions.cpp the instructions. Every bool is false after an error, which the reader keeps.
class KernelParser {
 public:
  // `symbols`, `functions`: what the text has declared before.
  KernelParser(Reader& reader, const Names<Symbol>& symbols, const Names<Function>& functions)
      : reader_(reader), module_symbols_(symbols), functions_(functions), scopes_(builder_) {}

  // Reads what follows .entry, body included.
  std::optional<UnitKernel> parse();
  // Reads the body of a function.
  std::optional<Fragment> parse_function(const Token& name, const Prototype& prototype);

 private:
  struct Source {
    std::uint32_t row = 0;
    Type type = Type::none;
  };
  struct Address {
    std::uint32_t row = 0;
    std::int64_t offset = 0;
    std::optional<Symbol> parameter;  // of ld.param
  };
  // What the modifiers of ld, st, atom and red say.
  struct Access {
    Space space = Space::generic;
    bool is_volatile = false;  // or relaxed, acquire, release: seen by other threads of the host
    unsigned words = 1;
    Type type = Type::none;
    std::string_view operation;  // of atom and red
  };
  // A row of operations.def with what .ftz and .sat add to it.
  struct Arithmetic {
    const Operation* operation = nullptr;
    bool flushes = false;
    bool saturates = false;
  };
  struct Comparison {
    const Operation* operation = nullptr;
    std::string combination;  // and, or, xor; empty: none
    bool flushes = false;
  };
  enum class Width : std::uint8_t { exact, or_wider };

  // kernel_parser.cpp
  bool parameters();
  bool add_parameter(const Declaration& declaration);
  bool formals(const Prototype& prototype);
  bool performance_directives();
  bool thread_limit(bool is_exact);
  bool body();
  bool statement();
  bool declaration();
  bool registers();
  bool variables(Space space, bool is_extern);
  bool place(const Declaration& declaration, Space space, bool is_extern);
  bool label();
  bool resolve_labels();
  bool skip_debug_line();
  const Symbol* find_symbol(const Token& name);
  Symbol use_shared(std::string_view module_name, const Symbol& symbol);
  Fragment finish();

  // operands.cpp
  bool comma() { return reader_.expect(',', "between operands"); }
  bool check(const Token& at, Type have, Type want, Width width);
  std::optional<Source> operand(Type type, Width width);
  std::optional<std::uint32_t> source(Type type);
  std::optional<std::uint32_t> narrowed_source(Type type);
  std::optional<Source> destination(Type type, Width width);
  std::optional<std::uint32_t> symbol_address(const Token& name, const Symbol& symbol, std::uint64_t offset,
                                              unsigned bytes);
  std::uint32_t frame_address(std::uint64_t offset, unsigned bytes);
  std::optional<Source> special(const Token& name);
  std::optional<Address> address(Space space);
  bool base(Space space, Address& out);
  bool offset(Address& out);
  std::uint32_t row_of_width(const Source& target, Type type);
  void widen(const Source& target, Type type, std::uint32_t row);
  std::uint32_t narrow(const Source& from, Type type);

  // instructions.cpp
  bool guard(Guard& out);
  bool instruction();
  bool assemble(const Token& mnemonic);
  bool unknown(const Token& mnemonic);
  bool move(const Token& mnemonic);
  bool pack(const Token& mnemonic, Type type);
  bool unpack(const Token& mnemonic, Type type);
  std::optional<Comparison> comparison(std::string name);
  bool compare_operands(const Comparison& how, std::uint32_t result, std::uint32_t negation);
  bool compare(const Token& mnemonic);
  bool combine(std::string_view combination, std::uint32_t result, std::uint32_t negation);
  void store_predicates(const Source& target, std::uint32_t result, const Source& inverse, std::uint32_t negation);
  bool branch(const Token& mnemonic);
  bool barrier(const Token& mnemonic);
  bool end(const Token& mnemonic);
  bool trap(const Token& mnemonic);
  bool fence(const Token& mnemonic);
  bool nanosleep(const Token& mnemonic);

  // arithmetic_instructions.cpp
  std::optional<Arithmetic> arithmetic(const Token& mnemonic);
  std::uint32_t flushed(std::uint32_t row, Type type);
  bool lane_operation(const Token& mnemonic);
  bool convert(const Token& mnemonic);
  bool emit_conversion(const std::string& rounding, std::uint32_t to_row, Type to, std::uint32_t from_row, Type from);
  void clamp(std::uint32_t to_row, Type to, std::uint32_t from_row, Type from);
  bool carry(const Token& mnemonic);
  bool logic3(const Token& mnemonic);
  bool set(const Token& mnemonic);
  bool select_by_sign(const Token& mnemonic);

  // warp_instructions.cpp
  std::optional<std::uint32_t> members();
  bool needs_sync(const Token& mnemonic);
  bool shuffle(const Token& mnemonic);
  bool vote(const Token& mnemonic);
  bool match(const Token& mnemonic);
  bool active_mask(const Token& mnemonic);
  bool warp_barrier();

  // call_instructions.cpp
  bool call(const Token& mnemonic);
  bool call_operands(std::vector<Token>& out);
  bool pass(const Token& value, const Formal& formal);
  bool fetch(const Token& target, const Formal& formal);
  void copy_words(std::uint64_t from, std::uint64_t to, std::uint64_t size, bool out_of_frame);
  void return_results();
  Instruction& beyond_frame(Instruction& in, std::uint64_t offset);

  // memory_instructions.cpp
  std::optional<Access> access(const Token& mnemonic);
  bool load(const Token& mnemonic);
  bool load_parameter(const Token& at, const Access& how, const Address& from,
                      const std::array<std::uint32_t, 5>& rows);
  bool in_bounds(const Token& at, const Access& how, const Address& place);
  bool store(const Token& mnemonic);
  bool atomic(const Token& mnemonic);
  bool to_generic(const Token& mnemonic);
  template <class Read>
  bool words(unsigned count, Read read);
  std::string row_name(std::string_view base, const Access& access) const;

  struct Form;  // an instruction and the function that assembles it
  static const Form kForms[];

  struct Jump {
    std::uint32_t from = 0;
    Token label;
  };

  Reader& reader_;
  const Names<Symbol>& module_symbols_;
  const Names<Function>& functions_;
  Builder builder_;
  Scopes scopes_;
  Kernel kernel_;
  Names<std::uint32_t> labels_;
  std::vector<Jump> jumps_;
  Names<Symbol> shared_of_module_;  // module-level shared variables that the kernel uses
  std::vector<SharedUse> shared_;
  std::vector<CallSite> calls_;
  std::vector<std::uint32_t> beyond_frame_;  // instructions whose offset counts from the end of the frame
  const Prototype* prototype_ = nullptr;     // of the function being read
  bool is_function_ = false;
  std::uint64_t shared_bytes_ = 0;  // about: the link places them
  std::uint64_t local_bytes_ = 0;   // of the frame
};

}  // namespace lull::ptx
