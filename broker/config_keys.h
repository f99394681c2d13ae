// broker/config_keys.h: the table of configuration keys: name, where its value goes, bounds, and a sentence for people.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "broker/config.h"

namespace lull {

// Where a value goes. The wrappers tell the units apart: all of them are integers in the end.
struct BytesField {
  policy::Bytes* value;
};
struct SmallBytesField {
  std::uint32_t* value;
};
struct OptionalBytesField {
  std::optional<policy::Bytes>* value;
};
struct TimeField {
  policy::Time* value;
};
struct OptionalTimeField {
  std::optional<policy::Time>* value;
};
struct MicrosecondsField {
  std::uint32_t* value;
};
struct CountField {
  std::uint64_t* value;
};
struct EitherField {
  bool* value;
  const char* if_false;
  const char* if_true;
};
struct PathField {
  std::string* value;
};
struct UuidField {
  Uuid* value;
};
// A list; each member has to please `check`, which says what is wrong with it.
struct ListField {
  std::vector<std::string>* values;
  std::optional<std::string> (*check)(std::string_view);
};
struct TextField {
  std::string* value;
};
using Field = std::variant<BytesField, SmallBytesField, OptionalBytesField, TimeField, OptionalTimeField,
                           MicrosecondsField, CountField, EitherField, PathField, UuidField, ListField, TextField>;

template <class Owner>
struct Key {
  const char* name;
  Field (*field)(Owner&);
  std::uint64_t least, most;  // of bytes, nanoseconds or the count
  const char* absent;         // what holds without it, where the default is no number
  const char* doc;
};

struct Section {
  const char* name;  // "": the top of the file
  std::span<const Key<Config>> keys;
};
std::span<const Section> config_sections();
std::span<const Key<CardConfig>> card_keys();        // of [[gpu]]; [gpu] takes those that are no identity
std::span<const Key<ServiceConfig>> service_keys();  // of [[service]]
bool is_card_identity(std::string_view key);         // uuid, memory

// Parses text or an integer into a field; nothing on success, else what is wrong with it.
std::optional<std::string> set_field(const Field&, std::string_view text, std::uint64_t least, std::uint64_t most);
std::string show_field(const Field&, const char* absent);

}  // namespace lull
