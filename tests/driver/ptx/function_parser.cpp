#include "tests/driver/ptx/function_parser.h"

#include <string>

#include "tests/driver/ptx/declarations.h"

namespace lull::ptx {
namespace {

constexpr std::uint64_t kFormalLimit = 4096;  // bytes of results and parameters

bool add(Reader& reader, const Declaration& declaration, bool is_register, Prototype& prototype,
         std::vector<Formal>& out) {
  const std::uint64_t offset = (prototype.bytes + declaration.align - 1) / declaration.align * declaration.align;
  if (declaration.size > kFormalLimit || offset + declaration.size > kFormalLimit)
    return reader.fail(declaration.name,
                       "the parameters of a function exceed " + std::to_string(kFormalLimit) + " bytes");
  out.push_back({.name = std::string(declaration.name.text),
                 .type = declaration.type,
                 .is_register = is_register,
                 .size = declaration.size,
                 .align = declaration.align,
                 .offset = offset});
  prototype.bytes = offset + declaration.size;
  return true;
}

// (.reg .u32 a, .param .align 8 .b8 b[16])
bool read_formals(Reader& reader, Prototype& prototype, std::vector<Formal>& out) {
  if (!reader.accept('(')) return true;
  if (reader.accept(')')) return true;
  do {
    const Token kind = reader.next();
    if (!kind.is(".reg") && !kind.is(".param"))
      return reader.fail(kind, "expected .reg or .param, found " + quoted(kind));
    const auto declaration = read_parameter(reader);
    if (!declaration) return false;
    if (kind.is(".reg") && declaration->size != bytes_of(declaration->type))
      return reader.fail(declaration->name, "a register is no array: use .param");
    if (!add(reader, *declaration, kind.is(".reg"), prototype, out)) return false;
  } while (reader.accept(','));
  return reader.expect(')', "after the parameters");
}

}  // namespace

std::optional<FunctionHead> read_function_head(Reader& reader) {
  FunctionHead head;
  if (!read_formals(reader, head.prototype, head.prototype.results)) return std::nullopt;
  const auto name = reader.name("a function");
  if (!name) return std::nullopt;
  head.name = *name;
  if (!read_formals(reader, head.prototype, head.prototype.parameters)) return std::nullopt;
  while (reader.accept(".noreturn")) {
  }
  return head;
}

}  // namespace lull::ptx
