#include "tests/driver/ptx/declarations.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace lull::ptx {
namespace {

constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 40;  // bytes of a variable: no device is larger
constexpr std::uint64_t kAlignLimit = 128;

bool read_alignment(Reader& reader, std::uint64_t& align) {
  if (!reader.accept(".align")) return true;
  const Token at = reader.peek();
  const auto wanted = reader.integer("an alignment", kAlignLimit);
  if (!wanted) return false;
  if (*wanted == 0 || (*wanted & (*wanted - 1)) != 0) return reader.fail(at, "an alignment is a power of two");
  align = *wanted;
  return true;
}

// [4][2], or [] first.
bool read_dimensions(Reader& reader, Declaration& declaration) {
  std::uint64_t elements = 1;
  for (bool first = true; reader.accept('['); first = false) {
    const Token at = reader.peek();
    if (first && reader.accept(']')) {
      declaration.is_flexible = true;
      continue;
    }
    const auto count = reader.integer("an array size", kSizeLimit);
    if (!count || !reader.expect(']', "after the array size")) return false;
    if (*count == 0) return reader.fail(at, "an array has at least one element");
    if (elements > kSizeLimit / *count) return reader.fail(at, "the array is too large");
    elements *= *count;
  }
  if (elements > kSizeLimit / bytes_of(declaration.type))
    return reader.fail(declaration.name, "the array is too large");
  declaration.size = declaration.is_flexible ? 0 : elements * bytes_of(declaration.type);
  return true;
}

// name, name+8, generic(name): an address takes a word of 64 bits.
bool read_initial_address(Reader& reader, Declaration& declaration) {
  const bool generic = reader.accept("generic");
  if (generic && !reader.expect('(', "after generic")) return false;
  const auto name = reader.name("a variable");
  if (!name || (generic && !reader.expect(')', "after the variable"))) return false;
  if (declaration.type != Type::u64 && declaration.type != Type::b64 && declaration.type != Type::s64)
    return reader.fail(*name, "the address of " + quoted(*name) + " needs a 64-bit word");
  Declaration::Address address{declaration.initial.size(), *name, 0};
  if (reader.accept('+')) {
    const auto addend = reader.integer("an offset", INT32_MAX);
    if (!addend) return false;
    address.addend = static_cast<std::int64_t>(*addend);
  }
  declaration.addresses.push_back(address);
  declaration.initial.resize(declaration.initial.size() + bytes_of(declaration.type));
  return true;
}

bool read_initial_word(Reader& reader, Declaration& declaration) {
  if (reader.peek().is('{'))
    return reader.fail(reader.peek(), "nested initialisers are not supported: write the elements in one list");
  if (reader.peek().kind == TokenKind::word) return read_initial_address(reader, declaration);
  const auto value = reader.literal(declaration.type);
  if (!value) return false;
  const std::size_t bytes = bytes_of(declaration.type), at = declaration.initial.size();
  declaration.initial.resize(at + bytes);
  // The numbers of PTX are little-endian, as are all hosts that Lull runs on.
  std::memcpy(declaration.initial.data() + at, &*value, bytes);
  return true;
}

bool read_initialiser(Reader& reader, Declaration& declaration) {
  const Token at = reader.peek();
  if (!reader.accept('=')) return true;
  declaration.is_initialised = true;
  if (!reader.accept('{')) return read_initial_word(reader, declaration);
  while (!reader.accept('}')) {
    if (!read_initial_word(reader, declaration)) return false;
    if (!reader.peek().is('}') && !reader.expect(',', "between initial values")) return false;
  }
  if (std::exchange(declaration.is_flexible, false)) declaration.size = declaration.initial.size();
  if (declaration.initial.size() > declaration.size) return reader.fail(at, "more initial values than elements");
  return true;
}

bool read_named(Reader& reader, Declaration& declaration) {
  const auto name = reader.name("a variable");
  if (!name) return false;
  declaration.name = *name;
  return read_dimensions(reader, declaration);
}

std::optional<Declaration> read_kind(Reader& reader) {
  Declaration kind;
  if (!read_alignment(reader, kind.align)) return std::nullopt;
  const Token at = reader.peek();
  const auto type = read_type(reader);
  if (!type) return std::nullopt;
  if (*type == Type::pred) {
    reader.fail(at, "memory holds no .pred: use .u8");
    return std::nullopt;
  }
  kind.type = *type;
  kind.align = std::max<std::uint64_t>(kind.align, bytes_of(*type));
  return kind;
}

}  // namespace

std::optional<Type> read_type(Reader& reader) {
  const Token& token = reader.peek();
  if (token.kind == TokenKind::word && token.text.starts_with('.'))
    if (const auto type = type_named(token.text.substr(1))) {
      reader.next();
      return type;
    }
  reader.fail(token,
              "expected a type such as .u32, found " + quoted(token) + " (vectors and opaque types are not supported)");
  return std::nullopt;
}

std::optional<std::vector<Declaration>> read_variables(Reader& reader) {
  const auto kind = read_kind(reader);
  if (!kind) return std::nullopt;
  std::vector<Declaration> variables;
  do {
    Declaration variable = *kind;
    if (!read_named(reader, variable) || !read_initialiser(reader, variable)) return std::nullopt;
    variables.push_back(std::move(variable));
  } while (reader.accept(','));
  if (!reader.expect(';', "after the variable")) return std::nullopt;
  return variables;
}

std::optional<Declaration> read_parameter(Reader& reader) {
  auto parameter = read_kind(reader);
  if (!parameter) return std::nullopt;
  // .param .u64 .ptr .global .align 8 name: what the pointer points to changes nothing here.
  if (reader.accept(".ptr")) {
    for (const std::string_view space : {".global", ".shared", ".const", ".local"}) (void)reader.accept(space);
    std::uint64_t ignored = 1;
    if (!read_alignment(reader, ignored)) return std::nullopt;
  }
  if (!read_named(reader, *parameter)) return std::nullopt;
  if (!parameter->is_flexible) return parameter;
  reader.fail(parameter->name, "a parameter needs its size");
  return std::nullopt;
}

}  // namespace lull::ptx
