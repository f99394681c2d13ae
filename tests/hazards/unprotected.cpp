// What the installed library does not have: the switch that takes single protections away (shim/protection.h).
#include <cstdlib>
#include <cstring>

#include "shim/process.h"
#include "shim/protection.h"

namespace lull {
namespace {

const char* name_of(Protection protection) {
  switch (protection) {
#define LULL_NAMED(name) \
  case Protection::name: return #name;
    LULL_PROTECTIONS(LULL_NAMED)
#undef LULL_NAMED
  }
  return "";
}

bool listed(const char* list, const char* name) {
  const std::size_t length = std::strlen(name);
  while (*list) {
    const std::size_t word = std::strcspn(list, ",");
    if (word == length && std::strncmp(list, name, length) == 0) return true;
    list += word + (list[word] == ',');
  }
  return false;
}

// A library that cannot keep quiet starts its thread with the program.
[[gnu::constructor]] void wake_up() {
  if (!on(Protection::dormancy)) (void)process::activate();
}

}  // namespace

bool on(Protection protection) {
  const char* off = std::getenv("LULL_TEST_OFF");
  return !off || !listed(off, name_of(protection));
}

}  // namespace lull
