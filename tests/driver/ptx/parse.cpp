#include <algorithm>
#include <utility>

#include "tests/driver/ptx/declarations.h"
#include "tests/driver/ptx/kernel_parser.h"
#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/reader.h"

namespace lull::ptx {
namespace {

class ModuleParser {
 public:
  explicit ModuleParser(std::string_view text) : reader_(text) {}

  std::variant<Module, Error> parse() {
    if (!header()) return *reader_.error();
    while (reader_.peek().kind != TokenKind::end)
      if (!item()) return *reader_.error();
    return std::move(module_);
  }

 private:
  bool header();
  bool item();
  bool skip_file();
  bool variables(Space space, bool is_extern);
  bool add_variable(Declaration& declaration, Space space);
  bool add_shared(const Declaration& declaration, bool is_extern);
  bool kernel();

  Reader reader_;
  Module module_;
  Names<Symbol> symbols_;
};

bool ModuleParser::header() {
  if (!reader_.accept(".version"))
    return reader_.fail(reader_.peek(), "PTX starts with .version, for example .version 6.3");
  if (reader_.peek().kind != TokenKind::real64)
    return reader_.fail(reader_.peek(), "expected a version such as 6.3, found " + quoted(reader_.peek()));
  reader_.next();
  if (!reader_.accept(".target"))
    return reader_.fail(reader_.peek(), "expected .target after .version, for example .target sm_75");
  const Token architecture = reader_.peek();
  if (architecture.kind != TokenKind::word || !architecture.text.starts_with("sm_"))
    return reader_.fail(architecture, "expected an architecture such as sm_75, found " + quoted(architecture));
  do reader_.next();
  while (reader_.accept(','));
  const bool has_size = reader_.accept(".address_size");
  const Token size = reader_.peek();
  if (!has_size) return reader_.fail(size, "expected .address_size 64 after .target");
  const auto bits = reader_.integer("an address size", 64);
  return bits && (*bits == 64 || reader_.fail(size, "only .address_size 64 is supported"));
}

bool ModuleParser::item() {
  const Token token = reader_.next();
  if (token.is(".visible") || token.is(".weak")) return true;  // nothing is linked: every name is the module's own
  if (token.is(".entry")) return kernel();
  if (token.is(".global")) return variables(Space::global, false);
  if (token.is(".const")) return variables(Space::constant, false);
  if (token.is(".shared")) return variables(Space::shared, false);
  if (token.is(".extern") && reader_.accept(".shared")) return variables(Space::shared, true);
  if (token.is(".file")) return skip_file();
  if (token.is(".pragma")) {
    reader_.next();
    return reader_.expect(';', "after .pragma");
  }
  if (token.is(".func"))
    return reader_.fail(token, "functions are not supported: write their instructions into the kernel");
  if (token.is(".extern")) return reader_.fail(token, "only .extern .shared is supported: modules are not linked");
  if (token.is(".section")) return reader_.fail(token, "debug sections are not supported: leave out debug information");
  return reader_.fail(token, "expected .entry or a variable, found " + quoted(token));
}

// .file 1 "name", 1, 2
bool ModuleParser::skip_file() {
  if (!reader_.integer("a file number", UINT32_MAX)) return false;
  if (reader_.peek().kind != TokenKind::string)
    return reader_.fail(reader_.peek(), "expected a file name, found " + quoted(reader_.peek()));
  reader_.next();
  while (reader_.accept(','))
    if (!reader_.integer("a number", UINT64_MAX)) return false;
  return true;
}

bool ModuleParser::variables(Space space, bool is_extern) {
  auto declarations = read_variables(reader_);
  if (!declarations) return false;
  return std::all_of(declarations->begin(), declarations->end(), [&](auto& declaration) {
    if (symbols_.contains(declaration.name.text))
      return reader_.fail(declaration.name, quoted(declaration.name) + " is declared twice");
    return space == Space::shared ? add_shared(declaration, is_extern) : add_variable(declaration, space);
  });
}

bool ModuleParser::add_variable(Declaration& declaration, Space space) {
  if (declaration.is_flexible) return reader_.fail(declaration.name, "an array without initialiser needs its size");
  const auto index = static_cast<std::int32_t>(module_.variables.size());
  symbols_.emplace(declaration.name.text,
                   Symbol{.space = space, .size = declaration.size, .align = declaration.align, .variable = index});
  module_.variables.push_back({.name = std::string(declaration.name.text),
                               .size = declaration.size,
                               .align = declaration.align,
                               .initial = std::move(declaration.initial),
                               .constant = space == Space::constant});
  return true;
}

bool ModuleParser::add_shared(const Declaration& declaration, bool is_extern) {
  if (declaration.is_initialised) return reader_.fail(declaration.name, "shared variables have no initialiser");
  if (declaration.is_flexible && !is_extern)
    return reader_.fail(declaration.name, "only .extern .shared arrays may leave out their size");
  symbols_.emplace(
      declaration.name.text,
      Symbol{.space = Space::shared, .size = declaration.size, .align = declaration.align, .is_dynamic = is_extern});
  return true;
}

bool ModuleParser::kernel() {
  const Token name = reader_.peek();
  KernelParser parser(reader_, symbols_);
  auto kernel = parser.parse();
  if (!kernel) return false;
  if (module_.find(kernel->name) != nullptr) return reader_.fail(name, "kernel " + quoted(name) + " is there twice");
  module_.kernels.push_back(std::move(*kernel));
  return true;
}

}  // namespace

std::variant<Module, Error> parse(std::string_view text) { return ModuleParser(text).parse(); }

const Kernel* Module::find(std::string_view kernel) const {
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const Kernel& k) { return k.name == kernel; });
  return found == kernels.end() ? nullptr : &*found;
}

}  // namespace lull::ptx
