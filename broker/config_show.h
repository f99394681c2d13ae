// broker/config_show.h: a configuration as it is in effect, key by key, and where each value comes from.
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "broker/config.h"

namespace lull {

struct ConfigRow {
  std::string key;  // "policy.linger_min", "service[0].ports"
  // As it would be written in the file; nothing: it is not set, and `otherwise` says what holds.
  std::variant<std::monostate, std::string, std::vector<std::string>> value;
  std::string otherwise;
  bool from_file = false;  // else it is the default
};
std::vector<ConfigRow> config_rows(const Config&);

// {"schema", "file", "values"}, as `lull config --json` prints it.
std::string config_json(const Config&);

}  // namespace lull
