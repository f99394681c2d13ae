#include "broker/request_kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
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

// Fine where probes are, coarse where uploads are: those of one client differ a little.
constexpr std::uint32_t fine_step = 64, fine_end = 1024;
constexpr std::uint8_t fine_sizes = fine_end / fine_step;

std::uint8_t size_of(std::uint32_t bytes) {
  if (bytes < fine_end) return static_cast<std::uint8_t>(1 + bytes / fine_step);
  return static_cast<std::uint8_t>(fine_sizes + std::bit_width(bytes / fine_end));
}

std::string show_size(std::uint8_t size) {
  if (size <= fine_sizes) return fmt::format("{} to {} bytes", (size - 1) * fine_step, size * fine_step - 1);
  const auto kib = std::uint64_t{1} << (size - fine_sizes - 1);
  return fmt::format("{} to {} KiB", kib, 2 * kib);
}

}  // namespace

RequestKind kind_of(std::uint16_t port, const RequestLook& look) {
  RequestKind kind{.port = port, .stream = look.stream, .method = look.method, .size = 0, .path = {}};
  if (kind.method >= LULL_METHODS) kind.method = LULL_METHOD_OTHER;
  if (kind.method != LULL_METHOD_NONE)
    kind.path = path_of({look.path.data(), look.path.size() - 1});
  else if (kind.stream != LULL_STREAM_OUTGOING)
    kind.size = size_of(look.bytes);
  return kind;
}

std::string show(const RequestKind& kind) {
  switch (kind.stream) {
    case LULL_STREAM_HTTP1:
      if (kind.method == LULL_METHOD_NONE) break;
      return fmt::format("{} {} on port {}", method_names[std::min<std::size_t>(kind.method, LULL_METHOD_OTHER)],
                         kind.path.empty() ? "*" : kind.path, kind.port);
    case LULL_STREAM_TLS: return fmt::format("TLS on port {}, {}", kind.port, show_size(kind.size));
    case LULL_STREAM_HTTP2: return fmt::format("HTTP/2 on port {}, {}", kind.port, show_size(kind.size));
    case LULL_STREAM_OUTGOING: return fmt::format("work from port {}", kind.port);
    default: break;
  }
  return fmt::format("bytes on port {}, {}", kind.port, show_size(kind.size));
}

KindId KindBook::id_of(const TenantKey& tenant, const RequestKind& kind) {
  const auto at = ids_.find({tenant, kind});
  if (at != ids_.end()) return at->second;
  if (entries_.size() >= most_kinds || kinds_of_[tenant] >= most_kinds_of_one) return 0;
  ++kinds_of_[tenant];
  entries_.emplace_back();
  return ids_[{tenant, kind}] = static_cast<KindId>(entries_.size());
}

bool KindBook::arrived(KindId id, policy::Time at) {
  if (id == 0) return false;
  Entry& entry = entries_[id - 1];
  const bool due = entry.rhythm.arrived(at);
  return entry.proven && !due;
}

bool KindBook::any_proven(const TenantKey& tenant) const {
  return std::any_of(ids_.begin(), ids_.end(), [&](const auto& entry) {
    return entry.first.first == tenant && entries_[entry.second - 1].proven;
  });
}

void KindBook::outcome(KindId id, policy::Time arrived, bool led_to_work) {
  if (id == 0 || id > entries_.size()) return;
  Entry& entry = entries_[id - 1];
  ++(led_to_work ? entry.worked : entry.idle);
  if (led_to_work) entry.rhythm.worked(arrived);
  if (!led_to_work && entry.rhythm.was_due(arrived)) return;  // says nothing of the requests in between
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
