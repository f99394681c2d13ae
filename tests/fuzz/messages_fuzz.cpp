// Any bytes a client may send: parsing never reads past them, and what it accepts keeps its promises.
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "protocol/messages.h"

namespace {

// Text that leaves the parser is terminated and printable: it goes into logs as it is.
template <std::size_t n>
void expect_text(const char (&text)[n]) {
  const std::size_t length = ::strnlen(text, n);
  if (length == n) std::abort();
  for (std::size_t i = 0; i < length; ++i)
    if (std::isprint(static_cast<unsigned char>(text[i])) == 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = lull::parse_message(std::as_bytes(std::span(data, size)));
  if (!message) return 0;
  if (const auto* hello = std::get_if<lull::Hello>(&*message)) {
    expect_text(hello->tenant);
    expect_text(hello->shim_version);
    (void)lull::common_minor(hello->major, hello->minor);
  }
  if (const auto* refused = std::get_if<lull::Refused>(&*message)) expect_text(refused->sentence);
  if (const auto* attach = std::get_if<lull::Attach>(&*message))
    if (attach->slot >= lull::max_gpus) std::abort();
  if (const auto* returned = std::get_if<lull::Returned>(&*message))
    if (returned->number == 0 || returned->bytes % (2u << 20) != 0) std::abort();
  if (const auto* arena = std::get_if<lull::Arena>(&*message))
    if (arena->bytes == 0 || arena->bytes % (2u << 20) != 0) std::abort();
  return 0;
}
