#include "broker/uuid.h"

namespace lull {
namespace {

constexpr std::string_view digits = "0123456789abcdef";
constexpr bool dash_after(std::size_t byte) { return byte == 3 || byte == 5 || byte == 7 || byte == 9; }

std::optional<unsigned> digit(char c) {
  if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  const auto at = digits.find(c);
  if (at == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(at);
}

}  // namespace

std::optional<Uuid> parse_uuid(std::string_view text) {
  if (text.starts_with("GPU-")) text.remove_prefix(4);
  if (text.size() != 36) return std::nullopt;
  Uuid uuid{};
  std::size_t at = 0;
  for (std::size_t byte = 0; byte < uuid.size(); ++byte) {
    const auto high = digit(text[at]), low = digit(text[at + 1]);
    if (!high || !low) return std::nullopt;
    uuid[byte] = static_cast<std::uint8_t>(*high << 4 | *low);
    at += 2;
    if (dash_after(byte) && text[at++] != '-') return std::nullopt;
  }
  return uuid;
}

std::string show_uuid(const Uuid& uuid) {
  std::string text = "GPU-";
  for (std::size_t byte = 0; byte < uuid.size(); ++byte) {
    text += digits[uuid[byte] >> 4];
    text += digits[uuid[byte] & 15];
    if (dash_after(byte)) text += '-';
  }
  return text;
}

}  // namespace lull
