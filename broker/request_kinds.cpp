#include "broker/request_kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "bpf/head.h"

namespace lull {
namespace {

constexpr std::size_t most_kinds = 4096;
constexpr unsigned most_kinds_of_one = 256;  // of one tenant: whoever invents paths pushes nobody else out
constexpr unsigned misses_that_disprove = 8;
constexpr int most_segments = 2;

constexpr const char* method_names[LULL_METHODS] = {"",      "GET",    "HEAD",    "POST", "PUT",
                                                    "PATCH", "DELETE", "OPTIONS", "other"};

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' || c == ':' || c == '~';
}

// An item's number or id is not what tells requests apart: "/jobs/4711" and "/jobs/4712" are one kind.
bool is_id(std::string_view segment) {
  const auto digits = std::count_if(segment.begin(), segment.end(), [](char c) { return c >= '0' && c <= '9'; });
  return 2 * static_cast<std::size_t>(digits) > segment.size() || segment.size() > 24 ||
         !std::all_of(segment.begin(), segment.end(), [](char c) { return is_plain(c) || (c >= '0' && c <= '9'); });
}

std::string path_of(std::string_view target) {
  target = target.substr(0, target.find_first_of(std::string_view(" ?#\r\n\0", 6)));
  std::string path;
  for (int n = 0; n < most_segments && !target.empty() && target.front() == '/'; ++n) {
    target.remove_prefix(1);
    const auto segment = target.substr(0, target.find('/'));
    target.remove_prefix(segment.size());
    path += '/';
    path += !segment.empty() && is_id(segment) ? std::string_view("*") : segment;
  }
  return path;
}

}  // namespace

RequestKind kind_of(std::uint16_t port, const RequestLook& look) {
  RequestKind kind{port, look.stream, look.method, {}};
  if (kind.method >= LULL_METHODS) kind.method = LULL_METHOD_OTHER;
  if (kind.method != LULL_METHOD_NONE) kind.path = path_of({look.path.data(), look.path.size() - 1});
  return kind;
}

std::string show(const RequestKind& kind) {
  switch (kind.stream) {
    case LULL_STREAM_HTTP1:
      if (kind.method == LULL_METHOD_NONE) break;
      return fmt::format("{} {} on port {}", method_names[std::min<std::size_t>(kind.method, LULL_METHOD_OTHER)],
                         kind.path.empty() ? "*" : kind.path, kind.port);
    case LULL_STREAM_TLS: return fmt::format("TLS on port {}", kind.port);
    case LULL_STREAM_HTTP2: return fmt::format("HTTP/2 on port {}", kind.port);
    case LULL_STREAM_OUTGOING: return fmt::format("work from port {}", kind.port);
    default: break;
  }
  return fmt::format("bytes on port {}", kind.port);
}

KindId KindBook::id_of(const TenantKey& tenant, const RequestKind& kind) {
  const auto at = ids_.find({tenant, kind});
  if (at != ids_.end()) return at->second;
  if (entries_.size() >= most_kinds || kinds_of_[tenant] >= most_kinds_of_one) return 0;
  ++kinds_of_[tenant];
  entries_.emplace_back();
  return ids_[{tenant, kind}] = static_cast<KindId>(entries_.size());
}

bool KindBook::any_proven(const TenantKey& tenant) const {
  return std::any_of(ids_.begin(), ids_.end(),
                     [&](const auto& entry) { return entry.first.first == tenant && proven(entry.second); });
}

void KindBook::outcome(KindId id, bool led_to_work) {
  if (id == 0 || id > entries_.size()) return;
  Entry& entry = entries_[id - 1];
  ++(led_to_work ? entry.worked : entry.idle);
  entry.misses = led_to_work ? 0 : entry.misses + 1;
  entry.proven = led_to_work || (entry.proven && entry.misses < misses_that_disprove);
}

std::vector<KindBook::Row> KindBook::rows() const {
  std::vector<Row> rows;
  for (const auto& [key, id] : ids_) {
    const Entry& entry = entries_[id - 1];
    rows.push_back({key.first.name, show(key.second), entry.proven, entry.worked, entry.idle});
  }
  return rows;
}

}  // namespace lull
