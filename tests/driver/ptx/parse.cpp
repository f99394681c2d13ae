#include <algorithm>
#include <charconv>
#include <utility>

#include "tests/driver/ptx/declarations.h"
#include "tests/driver/ptx/function_parser.h"
#include "tests/driver/ptx/kernel_parser.h"
#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/reader.h"
#include "tests/driver/ptx/unit.h"

namespace lull::ptx {
namespace {

class ModuleParser {
 public:
  ModuleParser(std::string_view text, const Limits& limits) : reader_(text), limits_(limits) {}

  std::variant<Unit, Error> parse() {
    if (!header()) return *reader_.error();
    while (reader_.peek().kind != TokenKind::end)
      if (!item()) return *reader_.error();
    return std::move(unit_);
  }

 private:
  bool header();
  bool item();
  bool skip_file();
  bool version();
  bool target();
  bool skip_section();
  bool variables(Space space, Linkage linkage);
  bool add_variable(Declaration& declaration, Space space, Linkage linkage);
  bool redeclare(Declaration& declaration, const Symbol& known, Linkage linkage);
  bool resolve_addresses(const Declaration& declaration, Variable& variable);
  bool add_shared(const Declaration& declaration, bool is_extern);
  bool function(Linkage linkage);
  bool kernel();

  Reader reader_;
  Limits limits_;
  Unit unit_;
  Names<Symbol> symbols_;
};

bool ModuleParser::header() {
  if (!reader_.accept(".version"))
    return reader_.fail(reader_.peek(), "PTX starts with .version, for example .version 6.3");
  if (reader_.peek().kind != TokenKind::real64)
    return reader_.fail(reader_.peek(), "expected a version such as 6.3, found " + quoted(reader_.peek()));
  if (!version() || !target()) return false;
  const bool has_size = reader_.accept(".address_size");
  const Token size = reader_.peek();
  if (!has_size) return reader_.fail(size, "expected .address_size 64 after .target");
  const auto bits = reader_.integer("an address size", 64);
  return bits && (*bits == 64 || reader_.fail(size, "only .address_size 64 is supported"));
}

// 6.3 counts as 63, as no version has had more than nine minor ones.
bool ModuleParser::version() {
  const Token number = reader_.next();
  const auto text = number.text;
  const auto dot = text.find('.');
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool good = dot != std::string_view::npos && dot > 0 && dot <= 2 && text.size() == dot + 2 &&
                    std::ranges::all_of(text.substr(0, dot), digit) && digit(text.back());
  if (!good) return reader_.fail(number, "expected a version such as 6.3, found " + quoted(number));
  unsigned version = 0;
  for (const char c : text)
    if (digit(c)) version = version * 10 + static_cast<unsigned>(c - '0');
  if (limits_.version == 0 || version <= limits_.version) return true;
  return reader_.fail_as_newer(number, "version " + std::string(text) + " is newer than " +
                                           std::to_string(limits_.version / 10) + "." +
                                           std::to_string(limits_.version % 10) + ", the newest known here");
}

// .target sm_75, or sm_90a: only devices of exactly that architecture. Options such as texmode_independent follow.
bool ModuleParser::target() {
  if (!reader_.accept(".target"))
    return reader_.fail(reader_.peek(), "expected .target after .version, for example .target sm_75");
  const Token architecture = reader_.next();
  if (architecture.kind != TokenKind::word || !architecture.text.starts_with("sm_"))
    return reader_.fail(architecture, "expected an architecture such as sm_75, found " + quoted(architecture));
  auto digits = architecture.text.substr(3);
  const bool is_exact = digits.ends_with('a');
  if (is_exact || digits.ends_with('f')) digits.remove_suffix(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), unit_.target);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.size() > 3)
    return reader_.fail(architecture, "expected an architecture such as sm_75, found " + quoted(architecture));
  if (limits_.target != 0 && (unit_.target > limits_.target || (is_exact && unit_.target != limits_.target)))
    return reader_.fail(architecture, "the text is for " + quoted(architecture) + ", this device is sm_" +
                                          std::to_string(limits_.target));
  while (reader_.accept(','))
    if (reader_.next().kind != TokenKind::word)
      return reader_.fail(architecture, "expected an option after the comma of .target");
  return true;
}

bool ModuleParser::item() {
  Linkage linkage = Linkage::own;
  if (reader_.accept(".visible"))
    linkage = Linkage::visible;
  else if (reader_.accept(".weak"))
    linkage = Linkage::weak;
  else if (reader_.accept(".extern"))
    linkage = Linkage::external;
  const Token token = reader_.next();
  if (token.is(".func")) return function(linkage);
  if (token.is(".global")) return variables(Space::global, linkage);
  if (token.is(".const")) return variables(Space::constant, linkage);
  if (token.is(".shared")) return variables(Space::shared, linkage);
  if (token.is(".entry") && linkage != Linkage::external) return kernel();
  if (linkage == Linkage::external)
    return reader_.fail(token, "only functions and variables are declared .extern, found " + quoted(token));
  if (token.is(".file")) return skip_file();
  if (token.is(".section")) return skip_section();
  if (token.is(".pragma")) {
    reader_.next();
    return reader_.expect(';', "after .pragma");
  }
  return reader_.fail(token, "expected .entry, .func or a variable, found " + quoted(token));
}

// .section .debug_info { ... }: nobody debugs here, so what it holds does not matter.
bool ModuleParser::skip_section() {
  const Token name = reader_.next();
  if (name.kind != TokenKind::word) return reader_.fail(name, "expected the name of a section, found " + quoted(name));
  if (!reader_.expect('{', "after the name of the section")) return false;
  while (!reader_.accept('}')) {
    const Token token = reader_.next();
    if (token.kind == TokenKind::end || token.kind == TokenKind::bad)
      return reader_.fail(token, "section " + quoted(name) + " does not end: } is missing");
  }
  return true;
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

bool ModuleParser::variables(Space space, Linkage linkage) {
  auto declarations = read_variables(reader_);
  if (!declarations) return false;
  return std::all_of(declarations->begin(), declarations->end(), [&](auto& declaration) {
    if (unit_.functions.contains(declaration.name.text))
      return reader_.fail(declaration.name, quoted(declaration.name) + " is declared twice");
    if (const auto known = symbols_.find(declaration.name.text); known != symbols_.end())
      return redeclare(declaration, known->second, linkage);
    return space == Space::shared ? add_shared(declaration, linkage == Linkage::external)
                                  : add_variable(declaration, space, linkage);
  });
}

// A variable may be declared .extern and then defined, in the same space and size.
bool ModuleParser::redeclare(Declaration& declaration, const Symbol& known, Linkage linkage) {
  const auto number = static_cast<std::size_t>(known.variable);
  if (known.variable < 0 || unit_.variables[number].linkage != Linkage::external || linkage == Linkage::own)
    return reader_.fail(declaration.name, quoted(declaration.name) + " is declared twice");
  auto& variable = unit_.variables[number];
  if (variable.variable.size != 0 && variable.variable.size != declaration.size)
    return reader_.fail(declaration.name, quoted(declaration.name) + " is declared with another size before");
  if (linkage == Linkage::external) return true;
  variable.linkage = linkage;
  variable.variable.size = declaration.size;
  variable.variable.initial = std::move(declaration.initial);
  return resolve_addresses(declaration, variable.variable);
}

bool ModuleParser::add_variable(Declaration& declaration, Space space, Linkage linkage) {
  const bool is_external = linkage == Linkage::external;
  if (declaration.is_flexible && !is_external)
    return reader_.fail(declaration.name, "an array without initialiser needs its size");
  if (declaration.is_initialised && is_external)
    return reader_.fail(declaration.name, "an .extern variable is initialised where it is defined");
  const auto index = static_cast<std::int32_t>(unit_.variables.size());
  symbols_.emplace(declaration.name.text,
                   Symbol{.space = space, .size = declaration.size, .align = declaration.align, .variable = index});
  Variable variable{.name = std::string(declaration.name.text),
                    .size = declaration.size,
                    .align = declaration.align,
                    .initial = std::move(declaration.initial),
                    .addresses = {},
                    .constant = space == Space::constant};
  if (!resolve_addresses(declaration, variable)) return false;
  unit_.variables.push_back({std::move(variable), linkage, {declaration.name.line, declaration.name.column}});
  return true;
}

bool ModuleParser::resolve_addresses(const Declaration& declaration, Variable& variable) {
  for (const auto& [offset, name, addend] : declaration.addresses) {
    const auto found = symbols_.find(name.text);
    if (found == symbols_.end() || found->second.variable < 0)
      return reader_.fail(name, quoted(name) + " is no variable of global or constant memory");
    variable.addresses.push_back({offset, found->second.variable, addend});
  }
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

// A declaration ends with a semicolon and may come again; a definition has a body.
bool ModuleParser::function(Linkage linkage) {
  const auto head = read_function_head(reader_);
  if (!head) return false;
  if (symbols_.contains(head->name.text)) return reader_.fail(head->name, quoted(head->name) + " is declared twice");
  const auto [entry, is_new] = unit_.functions.try_emplace(std::string(head->name.text));
  Function& known = entry->second;
  if (!is_new && !(known.prototype == head->prototype))
    return reader_.fail(head->name, quoted(head->name) + " is declared with other parameters before");
  if (is_new || known.linkage == Linkage::external) known.linkage = linkage;
  if (reader_.accept(';')) {
    if (is_new) known.prototype = head->prototype;
    return true;
  }
  if (known.is_defined) return reader_.fail(head->name, "function " + quoted(head->name) + " is there twice");
  if (linkage == Linkage::external) return reader_.fail(head->name, "an .extern function has no body here");
  known.prototype = head->prototype;  // with the names that the body uses
  known.is_defined = true;
  KernelParser parser(reader_, symbols_, unit_.functions);
  auto body = parser.parse_function(head->name, known.prototype);
  if (!body) return false;
  known.body = std::move(*body);
  return true;
}

bool ModuleParser::kernel() {
  const Token name = reader_.peek();
  KernelParser parser(reader_, symbols_, unit_.functions);
  auto kernel = parser.parse();
  if (!kernel) return false;
  const auto has_name = [&](const UnitKernel& other) { return other.kernel.name == kernel->kernel.name; };
  if (std::any_of(unit_.kernels.begin(), unit_.kernels.end(), has_name))
    return reader_.fail(name, "kernel " + quoted(name) + " is there twice");
  unit_.kernels.push_back(std::move(*kernel));
  return true;
}

}  // namespace

std::variant<Unit, Error> parse_unit(std::string_view text, const Limits& limits) {
  return ModuleParser(text, limits).parse();
}

std::variant<Module, Error> parse(std::string_view text, const Limits& limits) {
  std::size_t failing = 0;
  return link({&text, 1}, limits, failing);
}

std::optional<Error> check(std::string_view text, const Limits& limits) {
  auto unit = parse_unit(text, limits);
  if (auto* const error = std::get_if<Error>(&unit)) return std::move(*error);
  return std::nullopt;
}

std::variant<Module, Error> link(std::span<const std::string_view> texts, const Limits& limits, std::size_t& failing) {
  std::vector<Unit> units;
  for (failing = 0; failing < texts.size(); ++failing) {
    auto unit = parse_unit(texts[failing], limits);
    if (auto* const error = std::get_if<Error>(&unit)) return std::move(*error);
    units.push_back(std::move(std::get<Unit>(unit)));
  }
  return link_units(std::move(units), failing);
}

const Kernel* Module::find(std::string_view kernel) const {
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const Kernel& k) { return k.name == kernel; });
  return found == kernels.end() ? nullptr : &*found;
}

}  // namespace lull::ptx
