#include "broker/config_show.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "broker/config_keys.h"
#include "broker/units.h"

namespace lull {
namespace {

using nlohmann::json;
using Value = decltype(ConfigRow::value);

struct Teller {
  Value operator()(BytesField f) const { return show_bytes(*f.value); }
  Value operator()(SmallBytesField f) const { return show_bytes(*f.value); }
  Value operator()(OptionalBytesField f) const { return *f.value ? Value(show_bytes(**f.value)) : Value(); }
  Value operator()(TimeField f) const { return show_time(*f.value); }
  Value operator()(OptionalTimeField f) const { return *f.value ? Value(show_time(**f.value)) : Value(); }
  Value operator()(MicrosecondsField f) const { return show_time(*f.value * policy::Time{1000}); }
  Value operator()(CountField f) const { return fmt::format("{}", *f.value); }
  Value operator()(EitherField f) const { return std::string(*f.value ? f.if_true : f.if_false); }
  Value operator()(PathField f) const { return f.value->empty() ? Value() : Value(*f.value); }
  Value operator()(TextField f) const { return f.value->empty() ? Value() : Value(*f.value); }
  Value operator()(UuidField f) const { return show_uuid(*f.value); }
  Value operator()(ListField f) const { return f.values->empty() ? Value() : Value(*f.values); }
};

template <class Owner>
void add(std::vector<ConfigRow>& rows, const Config& config, const std::string& section,
         std::span<const Key<Owner>> keys, Owner owner) {
  for (const auto& key : keys) {
    const auto name = section + key.name;
    const bool said = std::count(config.said.begin(), config.said.end(), name) != 0;
    rows.push_back({name, std::visit(Teller{}, key.field(owner)), key.absent ? key.absent : "", said});
  }
}

json value_of(const ConfigRow& row) {
  if (const auto* text = std::get_if<std::string>(&row.value)) return *text;
  if (const auto* list = std::get_if<std::vector<std::string>>(&row.value)) return *list;
  return nullptr;
}

}  // namespace

std::vector<ConfigRow> config_rows(const Config& config) {
  std::vector<ConfigRow> rows;
  for (const auto& section : config_sections())
    add(rows, config, *section.name ? fmt::format("{}.", section.name) : "", section.keys, config);
  if (config.cards.empty()) {
    add(rows, config, "gpu.", card_keys(), CardConfig{{}, {}, config.sizes});
    std::erase_if(rows, [](const ConfigRow& row) {
      return row.key.starts_with("gpu.") && is_card_identity(std::string_view(row.key).substr(4));
    });
  }
  for (std::size_t i = 0; i < config.cards.size(); ++i)
    add(rows, config, fmt::format("gpu[{}].", i), card_keys(), config.cards[i]);
  for (std::size_t i = 0; i < config.services.size(); ++i)
    add(rows, config, fmt::format("service[{}].", i), service_keys(), config.services[i]);
  return rows;
}

std::string config_json(const Config& config) {
  json values = json::array();
  for (const auto& row : config_rows(config))
    values.push_back({{"name", row.key},
                      {"value", value_of(row)},
                      {"otherwise", row.value.index() == 0 ? json(row.otherwise) : json(nullptr)},
                      {"from", row.from_file ? "file" : "default"}});
  const json out = {
      {"schema", 1}, {"file", config.file.empty() ? json(nullptr) : json(config.file)}, {"values", values}};
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace lull
