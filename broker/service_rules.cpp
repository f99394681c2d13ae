#include "broker/service_rules.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "bpf/events.h"
#include "bpf/head.h"

namespace lull {
namespace {

std::optional<unsigned> parse_number(std::string_view text, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

std::optional<std::uint8_t> parse_method(std::string_view text) {
  constexpr std::pair<std::string_view, lull_method> known[] = {
      {"GET", LULL_METHOD_GET},        {"HEAD", LULL_METHOD_HEAD},   {"POST", LULL_METHOD_POST},
      {"PUT", LULL_METHOD_PUT},        {"PATCH", LULL_METHOD_PATCH}, {"DELETE", LULL_METHOD_DELETE},
      {"OPTIONS", LULL_METHOD_OPTIONS}};
  for (const auto& [name, method] : known)
    if (name == text) return static_cast<std::uint8_t>(method);
  return std::nullopt;
}

}  // namespace

std::optional<Filter::Path> parse_path_rule(std::string_view text) {
  Filter::Path path{LULL_METHOD_NONE, {}, true, true};
  if (text.starts_with('!')) {
    path.ignored = false;
    text.remove_prefix(1);
  }
  if (const auto space = text.find(' '); space != std::string_view::npos) {
    const auto method = parse_method(text.substr(0, space));
    if (!method) return std::nullopt;
    path.method = *method;
    text.remove_prefix(space + 1);
  }
  if (text.ends_with('*')) {
    path.whole = false;
    text.remove_suffix(1);
  }
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
  const std::size_t most = LULL_PATH_BYTES - (path.whole ? 1 : 0);  // what ends it is compared, too
  if (!text.starts_with('/') || !printable || text.size() > most) return std::nullopt;
  path.text = text;
  return path;
}

std::optional<Filter::Source> parse_source(std::string_view text) {
  Filter::Source source{};
  const auto slash = text.find('/');
  const std::string address(text.substr(0, slash));
  const bool v4 = inet_pton(AF_INET, address.c_str(), source.address.data() + 12) == 1;
  if (v4) source.address[10] = source.address[11] = 0xff;
  if (!v4 && inet_pton(AF_INET6, address.c_str(), source.address.data()) != 1) return std::nullopt;
  const unsigned whole = v4 ? 32 : 128;
  const auto bits = slash == std::string_view::npos ? whole : parse_number(text.substr(slash + 1), whole);
  if (!bits) return std::nullopt;
  source.bits = *bits + (v4 ? 96 : 0);
  return source;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
  const auto port = parse_number(text, 65535);
  if (!port || *port == 0) return std::nullopt;
  return static_cast<std::uint16_t>(*port);
}

std::optional<std::uint16_t> parse_work_port(std::string_view text) {
  const auto colon = text.rfind(':');
  return parse_port(colon == std::string_view::npos ? text : text.substr(colon + 1));
}

const std::vector<std::string>& usual_probes() {
  static const std::vector<std::string> probes = [] {
    std::vector<std::string> all;
    for (const char* method : {"GET ", "HEAD "})
      for (const char* path : {"/health*", "/ready*", "/live*", "/startup*", "/-/*", "/ping", "/metrics", "/metrics/*",
                               "/v2/health/*", "/favicon.ico", "/robots.txt"})
        all.push_back(std::string(method) + path);
    return all;
  }();
  return probes;
}

Filter make_filter(std::uint32_t least_bytes, const std::vector<std::string>& paths,
                   const std::vector<std::string>& sources) {
  Filter filter;
  filter.least_bytes = least_bytes;
  for (const auto* list : {&usual_probes(), &paths})
    for (const auto& text : *list)
      if (auto path = parse_path_rule(text)) filter.paths.push_back(std::move(*path));
  for (const auto& text : sources)
    if (const auto source = parse_source(text)) filter.sources.push_back(*source);
  return filter;
}

}  // namespace lull
