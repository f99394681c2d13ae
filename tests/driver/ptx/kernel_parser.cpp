#include "tests/driver/ptx/kernel_parser.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace lull::ptx {
namespace {

constexpr std::uint64_t kParameterLimit = 4096;       // bytes, as of sm_75
constexpr std::uint64_t kSharedLimit = 227 * 1024;    // bytes a block
constexpr std::uint64_t kLocalLimit = 64 * 1024;      // bytes a thread: a limit of the simulator
constexpr std::uint64_t kRowLimit = 4 * 1024 * 1024;  // bytes of registers a gang: a limit of the simulator
constexpr std::uint64_t kRegisterRangeLimit = 1'000'000'000;
constexpr std::size_t kDepthLimit = 64;  // of nested scopes
constexpr unsigned kThreadLimit = 1024;  // a block

constexpr std::uint64_t aligned(std::uint64_t offset, std::uint64_t align) {
  return (offset + align - 1) / align * align;
}

}  // namespace

std::optional<UnitKernel> KernelParser::parse() {
  const auto name = reader_.name("a kernel");
  if (!name) return std::nullopt;
  kernel_.name = name->text;
  scopes_.open();
  if (!parameters() || !performance_directives() || !body() || !resolve_labels()) return std::nullopt;
  UnitKernel out{std::move(kernel_), finish()};
  out.body.name = name->text;
  out.body.place = {name->line, name->column};
  return out;
}

std::optional<Fragment> KernelParser::parse_function(const Token& name, const Prototype& prototype) {
  kernel_.name = name.text;
  is_function_ = true;
  prototype_ = &prototype;
  scopes_.open();
  if (!formals(prototype) || !body() || !resolve_labels()) return std::nullopt;
  Fragment out = finish();
  out.name = name.text;
  out.place = {name.line, name.column};
  return out;
}

// Results and parameters lie at the start of the frame; those that are registers are fetched from there first.
bool KernelParser::formals(const Prototype& prototype) {
  local_bytes_ = prototype.bytes;
  builder_.begin_instruction({});
  for (const auto* const all : {&prototype.results, &prototype.parameters})
    for (const Formal& formal : *all) {
      const Symbol symbol{.space = Space::parameter,
                          .offset = formal.offset,
                          .size = formal.size,
                          .align = formal.align,
                          .in_frame = true};
      if (!(formal.is_register ? scopes_.declare(formal.name, formal.type) : scopes_.declare(formal.name, symbol)))
        return reader_.fail(reader_.peek(), "two parameters of this function have the name '" + formal.name + "'");
      if (!formal.is_register || all == &prototype.results) continue;
      Instruction& in = builder_.emit("ld local b" + std::to_string(formal.size * 8));
      in.row = {scopes_.find_register(formal.name)->row};
      in.immediate = static_cast<std::int64_t>(formal.offset);
      in.weight = 0;
    }
  return true;
}

bool KernelParser::parameters() {
  if (!reader_.accept('(')) return true;
  if (reader_.accept(')')) return true;
  do {
    if (!reader_.accept(".param"))
      return reader_.fail(reader_.peek(), "expected .param, found " + quoted(reader_.peek()));
    const auto declaration = read_parameter(reader_);
    if (!declaration || !add_parameter(*declaration)) return false;
  } while (reader_.accept(','));
  return reader_.expect(')', "after the parameters");
}

bool KernelParser::add_parameter(const Declaration& declaration) {
  const std::uint64_t offset = aligned(kernel_.parameter_bytes, declaration.align);
  if (declaration.size > kParameterLimit || offset + declaration.size > kParameterLimit)
    return reader_.fail(declaration.name, "the parameters exceed " + std::to_string(kParameterLimit) + " bytes");
  const Symbol symbol{
      .space = Space::parameter, .offset = offset, .size = declaration.size, .align = declaration.align};
  if (!scopes_.declare(declaration.name.text, symbol))
    return reader_.fail(declaration.name, quoted(declaration.name) + " is declared twice");
  kernel_.parameters.push_back({std::string(declaration.name.text), declaration.size, declaration.align, offset});
  kernel_.parameter_bytes = offset + declaration.size;
  return true;
}

bool KernelParser::performance_directives() {
  for (;;) {
    if (reader_.peek().is('{')) return true;
    if (reader_.accept(".maxntid")) {
      if (!thread_limit(false)) return false;
    } else if (reader_.accept(".reqntid")) {
      if (!thread_limit(true)) return false;
    } else if (reader_.accept(".minnctapersm") || reader_.accept(".maxnreg") || reader_.accept(".maxnctapersm")) {
      if (!reader_.integer("a count", UINT32_MAX)) return false;
    } else if (reader_.accept(".pragma")) {
      reader_.next();
      if (!reader_.expect(';', "after .pragma")) return false;
    } else {
      return reader_.fail(reader_.peek(), "expected the body of the kernel, { ... }, found " + quoted(reader_.peek()));
    }
  }
}

// Of a required size only the number of threads is kept.
bool KernelParser::thread_limit(bool is_exact) {
  const Token at = reader_.peek();
  std::uint64_t threads = 1;
  do {
    const auto size = reader_.integer("a block dimension", kThreadLimit);
    if (!size) return false;
    threads *= *size;
  } while (reader_.accept(','));
  if (threads == 0 || threads > kThreadLimit)
    return reader_.fail(at, std::string(is_exact ? ".reqntid" : ".maxntid") + " allows 1 to 1024 threads");
  kernel_.max_threads = static_cast<unsigned>(threads);
  return true;
}

bool KernelParser::body() {
  const Token start = reader_.peek();
  if (!reader_.expect('{', "before the body of the kernel")) return false;
  const std::size_t outside = scopes_.depth();
  scopes_.open();
  while (scopes_.depth() > outside) {
    if (reader_.peek().kind == TokenKind::end)
      return reader_.fail(start, "the body of kernel '" + kernel_.name + "' does not end: } is missing");
    if (!statement()) return false;
    if (builder_.row_bytes() > kRowLimit)
      return reader_.fail(reader_.peek(), "the kernel uses more registers than the simulator keeps");
  }
  builder_.begin_instruction({});
  const std::uint32_t last = builder_.position();  // for whoever runs past the end
  if (is_function_)
    return_results();
  else
    builder_.emit(Control::exit);
  builder_.at(last).weight = 0;
  return true;
}

bool KernelParser::statement() {
  const Token& token = reader_.peek();
  if (token.is('}')) {
    reader_.next();
    scopes_.close();
    return true;
  }
  if (token.is('{')) {
    if (scopes_.depth() >= kDepthLimit) return reader_.fail(token, "scopes are nested too deep");
    reader_.next();
    scopes_.open();
    return true;
  }
  if (reader_.accept(';')) return true;
  if (token.kind == TokenKind::word && token.text.starts_with('.')) return declaration();
  if (token.kind == TokenKind::word && reader_.peek(1).is(':')) return label();
  return instruction();
}

bool KernelParser::declaration() {
  const Token& token = reader_.next();
  if (token.is(".reg")) return registers();
  if (token.is(".shared")) return variables(Space::shared, false);
  if (token.is(".local")) return variables(Space::local, false);
  if (token.is(".param")) return variables(Space::parameter, false);
  if (token.is(".extern") && reader_.accept(".shared")) return variables(Space::shared, true);
  if (token.is(".loc")) return skip_debug_line();
  if (token.is(".pragma")) {
    reader_.next();
    return reader_.expect(';', "after .pragma");
  }
  return reader_.fail(token, "directive " + quoted(token) + " is not supported in a kernel");
}

// .loc ends with its line: file, line and column are numbers.
bool KernelParser::skip_debug_line() {
  while (reader_.peek().kind == TokenKind::integer) reader_.next();
  return true;
}

bool KernelParser::registers() {
  const auto type = read_type(reader_);
  if (!type) return false;
  do {
    const auto name = reader_.name("a register");
    if (!name) return false;
    bool is_new = false;
    if (reader_.accept('<')) {
      const auto count = reader_.integer("a number of registers", kRegisterRangeLimit);
      if (!count || !reader_.expect('>', "after the number of registers")) return false;
      is_new = scopes_.declare_range(name->text, *count, *type);
    } else {
      is_new = scopes_.declare(name->text, *type);
    }
    if (!is_new) return reader_.fail(*name, quoted(*name) + " is declared twice");
  } while (reader_.accept(','));
  return reader_.expect(';', "after .reg");
}

bool KernelParser::variables(Space space, bool is_extern) {
  const auto declarations = read_variables(reader_);
  if (!declarations) return false;
  return std::all_of(declarations->begin(), declarations->end(),
                     [&](const auto& d) { return place(d, space, is_extern); });
}

bool KernelParser::place(const Declaration& declaration, Space space, bool is_extern) {
  if (declaration.is_initialised)
    return reader_.fail(declaration.name, "shared and local variables have no initialiser");
  if (declaration.is_flexible && !(is_extern && space == Space::shared))
    return reader_.fail(declaration.name, "only .extern .shared arrays may leave out their size");
  auto& used = space == Space::shared ? shared_bytes_ : local_bytes_;
  const std::uint64_t limit = space == Space::shared ? kSharedLimit : kLocalLimit;
  Symbol symbol{.space = space,
                .size = declaration.size,
                .align = declaration.align,
                .is_dynamic = is_extern,
                .in_frame = space == Space::parameter};
  if (!is_extern) {
    const std::uint64_t offset = aligned(used, declaration.align);
    if (declaration.size > limit || offset + declaration.size > limit)
      return reader_.fail(declaration.name, "more than " + std::to_string(limit) + " bytes of " +
                                                (space == Space::shared ? "shared memory" : "local memory"));
    used = offset + declaration.size;
    if (space != Space::shared) symbol.offset = offset;
  }
  if (space == Space::shared) symbol = use_shared({}, symbol);
  if (scopes_.declare(declaration.name.text, symbol)) return true;
  return reader_.fail(declaration.name, quoted(declaration.name) + " is declared twice");
}

bool KernelParser::label() {
  const auto name = reader_.name("a label");
  if (!name || !reader_.expect(':', "after a label")) return false;
  if (labels_.try_emplace(std::string(name->text), builder_.position()).second) return true;
  return reader_.fail(*name, "label " + quoted(*name) + " is there twice");
}

bool KernelParser::resolve_labels() {
  for (const Jump& jump : jumps_) {
    const auto found = labels_.find(jump.label.text);
    if (found == labels_.end()) return reader_.fail(jump.label, "no label " + quoted(jump.label) + " in this kernel");
    builder_.at(jump.from).target = found->second;
  }
  return true;
}

// Shared variables of the module take room only in kernels that use them.
const Symbol* KernelParser::find_symbol(const Token& name) {
  if (const Symbol* const found = scopes_.find_symbol(name.text)) return found;
  if (const auto placed = shared_of_module_.find(name.text); placed != shared_of_module_.end()) return &placed->second;
  const auto found = module_symbols_.find(name.text);
  if (found == module_symbols_.end()) return nullptr;
  if (found->second.space != Space::shared) return &found->second;
  if (!found->second.is_dynamic) {
    shared_bytes_ = aligned(shared_bytes_, found->second.align) + found->second.size;
    if (shared_bytes_ > kSharedLimit) {
      reader_.fail(name, "more than " + std::to_string(kSharedLimit) + " bytes of shared memory");
      return nullptr;
    }
  }
  return &shared_of_module_.try_emplace(std::string(name.text), use_shared(name.text, found->second)).first->second;
}

Symbol KernelParser::use_shared(std::string_view module_name, const Symbol& symbol) {
  Symbol out = symbol;
  out.shared = static_cast<std::int32_t>(shared_.size());
  shared_.push_back({std::string(module_name), symbol.size, symbol.align, symbol.is_dynamic});
  return out;
}

Fragment KernelParser::finish() {
  constexpr std::uint64_t kLocalAlign = 16;  // every lane's part, and every frame, is as aligned as the first one
  Fragment out;
  out.frame_bytes = aligned(local_bytes_, kLocalAlign);
  for (const std::uint32_t at : beyond_frame_) builder_.at(at).immediate += static_cast<std::int64_t>(out.frame_bytes);
  out.calls = std::move(calls_);
  out.shared = std::move(shared_);
  out.registers = scopes_.registers_used();
  if (builder_.has_carry_flag()) out.registers.push_back({builder_.carry_flag(), 1});
  out.program = builder_.finish();
  return out;
}

}  // namespace lull::ptx
