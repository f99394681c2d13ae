#include "broker/config.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

#include "broker/config_keys.h"

namespace lull {
namespace {

// How many single-letter edits lead from one word to the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row.back();
}

class Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}

  ConfigResult read(const toml::table& file) {
    Config config;
    read_top(file, config);
    if (problem_.text.empty()) check_together(file, config);
    if (!problem_.text.empty()) return problem_;
    config.file = name_;
    config.said = std::move(said_);
    return config;
  }

 private:
  void fail(const toml::node& where, const std::string& what) {
    if (problem_.text.empty()) problem_.text = fmt::format("{}:{}: {}", name_, where.source().begin.line, what);
  }

  void unknown(const toml::node& where, std::string_view what, std::string_view key,
               const std::vector<std::string_view>& known) {
    const auto nearest = *std::min_element(known.begin(), known.end(),
                                           [&](auto a, auto b) { return distance(key, a) < distance(key, b); });
    const bool close = distance(key, nearest) <= std::max<std::size_t>(2, nearest.size() / 2);
    fail(where, close ? fmt::format("unknown {} \"{}\"; did you mean \"{}\"?", what, key, nearest)
                      : fmt::format("unknown {} \"{}\"; known are: {}", what, key, fmt::join(known, ", ")));
  }

  template <class Owner>
  void read_value(const std::string& place, const Key<Owner>& key, const toml::node& node, Owner& owner) {
    said_.push_back(place + key.name);
    if (!std::holds_alternative<ListField>(key.field(owner))) return read_one(key, node, owner);
    const auto* list = node.as_array();
    if (!list) return fail(node, fmt::format("{} must be a list: [\"...\"]", key.name));
    for (const auto& element : *list) read_one(key, element, owner);
  }

  template <class Owner>
  void read_one(const Key<Owner>& key, const toml::node& node, Owner& owner) {
    std::string text;
    if (const auto* s = node.as_string())
      text = s->get();
    else if (const auto* n = node.as_integer())
      text = fmt::format("{}", n->get());
    else
      return fail(node, fmt::format("{} must be text or a whole number", key.name));
    if (const auto problem = set_field(key.field(owner), text, key.least, key.most))
      fail(node, fmt::format("{} = \"{}\" {}", key.name, text, *problem));
  }

  template <class Owner>
  static const Key<Owner>* find(std::span<const Key<Owner>> keys, std::string_view name) {
    const auto at = std::find_if(keys.begin(), keys.end(), [&](const auto& k) { return name == k.name; });
    return at == keys.end() ? nullptr : &*at;
  }

  template <class Owner>
  static std::vector<std::string_view> names(std::span<const Key<Owner>> keys) {
    std::vector<std::string_view> all;
    for (const auto& key : keys) all.emplace_back(key.name);
    return all;
  }

  void read_top(const toml::table& file, Config& config) {
    const auto sections = config_sections();
    auto known = names(sections.front().keys);
    known.emplace_back("gpu");
    known.emplace_back("service");
    for (const auto& section : sections.subspan(1)) known.emplace_back(section.name);
    for (const auto& [key, node] : file) {
      const auto section = std::find_if(sections.begin() + 1, sections.end(),
                                        [&name = key](const auto& s) { return name.str() == s.name; });
      if (section != sections.end())
        read_section(*section, node, config);
      else if (key.str() == "gpu")
        read_gpu(node, config);
      else if (key.str() == "service")
        read_services(node, config);
      else if (const auto* entry = find(sections.front().keys, key.str()))
        read_value("", *entry, node, config);
      else if (const char* home = home_of(key.str()))
        fail(node, fmt::format("\"{}\" belongs in [{}]", key.str(), home));
      else
        unknown(node, "key", key.str(), known);
    }
  }

  static const char* home_of(std::string_view key) {
    for (const auto& section : config_sections())
      if (*section.name && find(section.keys, key)) return section.name;
    if (find(service_keys(), key)) return "[service]";
    return find(card_keys(), key) ? "gpu" : nullptr;
  }

  void read_section(const Section& section, const toml::node& node, Config& config) {
    const auto* table = node.as_table();
    if (!table) return fail(node, fmt::format("{} must be a section: [{}]", section.name, section.name));
    for (const auto& [key, value] : *table) {
      if (const auto* entry = find(section.keys, key.str()))
        read_value(fmt::format("{}.", section.name), *entry, value, config);
      else
        unknown(value, fmt::format("key in [{}]", section.name), key.str(), names(section.keys));
    }
  }

  void read_card(const toml::table& table, CardConfig& card, const char* where, const std::string& place) {
    const bool identity_allowed = std::string_view(where) == "[[gpu]]";
    for (const auto& [key, value] : table) {
      const auto* entry = find(card_keys(), key.str());
      if (!entry)
        unknown(value, fmt::format("key in {}", where), key.str(), names(card_keys()));
      else if (is_card_identity(key.str()) && !identity_allowed)
        fail(value, fmt::format("{} belongs to one card: write [[gpu]] instead of [gpu]", key.str()));
      else
        read_value(place, *entry, value, card);
    }
  }

  void read_gpu(const toml::node& node, Config& config) {
    if (const auto* table = node.as_table()) {
      CardConfig all;
      read_card(*table, all, "[gpu]", "gpu.");
      config.sizes = all.sizes;
      return;
    }
    const auto* list = node.as_array();
    if (!list) return fail(node, "gpu must be a section: [gpu] for every card, [[gpu]] for one");
    for (const auto& element : *list) {
      const auto* table = element.as_table();
      if (!table) return fail(element, "gpu must be a section: [gpu] for every card, [[gpu]] for one");
      CardConfig& card = config.cards.emplace_back();
      read_card(*table, card, "[[gpu]]", fmt::format("gpu[{}].", config.cards.size() - 1));
      if (!table->contains("uuid")) fail(element, "[[gpu]] needs a uuid; `nvidia-smi -L` prints them");
      for (const auto& other : config.cards)
        if (&other != &card && other.uuid == card.uuid) fail(element, "a second [[gpu]] with the same uuid");
    }
  }

  void read_services(const toml::node& node, Config& config) {
    const auto* list = node.as_array();
    if (!list) return fail(node, "service must be a section for each service: [[service]]");
    for (const auto& element : *list) {
      const auto* table = element.as_table();
      if (!table) return fail(element, "service must be a section for each service: [[service]]");
      ServiceConfig service;
      for (const auto& [key, value] : *table) {
        if (const auto* entry = find(service_keys(), key.str()))
          read_value(fmt::format("service[{}].", config.services.size()), *entry, value, service);
        else
          unknown(value, "key in [[service]]", key.str(), names(service_keys()));
      }
      if (!table->contains("tenant")) fail(element, "[[service]] needs a tenant; `lull status` shows their names");
      if (&config.service(service.tenant) != &config.service(""))
        fail(element, "a second [[service]] with the same tenant");
      config.services.push_back(std::move(service));
    }
  }

  void check_together(const toml::table& file, const Config& config) {
    const auto& r = config.rules;
    if (r.linger_min > r.linger_max)
      fail(file["policy"].as_table() ? *file["policy"].node() : static_cast<const toml::node&>(file),
           "linger_min is longer than linger_max");
    if (!config.on_stuck.empty() && config.on_stuck.front().front() != '/')
      fail(*file["on_stuck"].node(), "on_stuck must begin with the whole path of a program");
    for (std::size_t i = 0; i < config.cards.size(); ++i) {
      const auto& card = config.cards[i];
      const auto taken = card.sizes.slots * card.sizes.residue + card.sizes.headroom;
      if (card.memory && taken >= *card.memory)
        fail(*file["gpu"].as_array()->get(i),
             "memory - slots * residue - headroom leaves nothing; lower slots, residue or headroom");
    }
  }

  std::string name_;
  std::vector<std::string> said_;
  ConfigProblem problem_;
};

template <class Owner>
void add_rows(std::string& out, std::span<const Key<Owner>> keys, Owner& defaults) {
  out += "\n| key | default | meaning |\n|---|---|---|\n";
  for (const auto& key : keys)
    out += fmt::format("| `{}` | {} | {} |\n", key.name, show_field(key.field(defaults), key.absent), key.doc);
}

}  // namespace

const ServiceConfig& Config::service(const std::string& tenant) const {
  static const ServiceConfig nothing_said;
  const auto at = std::find_if(services.begin(), services.end(), [&](const auto& s) { return s.tenant == tenant; });
  return at == services.end() || tenant.empty() ? nothing_said : *at;
}

ConfigResult parse_config(std::string_view text, const std::string& name) {
  try {
    return Reader(name).read(toml::parse(text, name));
  } catch (const toml::parse_error& e) {
    return ConfigProblem{fmt::format("{}:{}: {}", name, e.source().begin.line, e.description())};
  }
}

ConfigResult load_config(const std::string& path) {
  std::ifstream file(path);
  if (!file) return ConfigProblem{fmt::format("cannot read {}: {}", path, std::strerror(errno))};
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return ConfigProblem{fmt::format("cannot read {}: {}", path, std::strerror(errno))};
  return parse_config(text, path);
}

std::string config_markdown() {
  std::string out =
      "# Configuration\n\n"
      "`/etc/lull/lull.toml`, or the file named by `lulld --config`. Without it the defaults hold. Sizes are written "
      "as\n"
      "`\"20GiB\"` or `\"600MB\"`, durations as `\"30s\"`, `\"20ms\"` or `\"10min\"`. `lulld --check-config` reads the "
      "file and\n"
      "says what is wrong with it; `systemctl reload lulld` (SIGHUP) takes it over, and keeps the old one if it is "
      "wrong.\n"
      "What is said of the cards takes effect at the next start: the sizes programs have seen must not change.\n\n"
      "This page is printed by `lulld --describe-config`.\n";
  Config defaults;
  for (const auto& section : config_sections()) {
    out += *section.name ? fmt::format("\n## `[{}]`\n", section.name) : "\n## At the top of the file\n";
    add_rows(out, section.keys, defaults);
  }
  CardConfig card;
  out += "\n## `[gpu]` for every card, or one `[[gpu]]` for each\n";
  add_rows(out, card_keys(), card);
  ServiceConfig service;
  out += "\n## `[[service]]`, one for each service of which something is to be said\n";
  add_rows(out, service_keys(), service);
  return out;
}

}  // namespace lull
