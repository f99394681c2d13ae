#include "broker/host_memory.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "broker/units.h"

namespace lull {
namespace {

using policy::Bytes;

std::optional<Bytes> line_of(std::string_view text, std::string_view name) {
  auto at = text.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + name.size());
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(' ')));
  Bytes kib = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), kib);
  if (error != std::errc{} || kib > 1ull << 50) return std::nullopt;
  return kib << 10;
}

Bytes minus(Bytes a, Bytes b) { return a > b ? a - b : 0; }

}  // namespace

std::optional<HostMemory> parse_meminfo(std::string_view text) {
  const auto total = line_of(text, "MemTotal:"), available = line_of(text, "MemAvailable:");
  if (!total || !available) return std::nullopt;
  return HostMemory{*total, *available, line_of(text, "SwapTotal:").value_or(0)};
}

HostMemory read_host_memory() {
  std::ifstream file("/proc/meminfo");
  char text[4096];
  file.read(text, sizeof text);
  return parse_meminfo({text, static_cast<std::size_t>(file.gcount())}).value_or(HostMemory{});
}

Bytes keep_free(const Config& config, const HostMemory& host) {
  const Bytes by_size = std::min(std::max(4 * gib, host.total / 10), host.total / 4);
  return config.host_memory_keep_free.value_or(by_size);
}

Bytes host_budget(const Config& config, const HostMemory& host, Bytes held) {
  const Bytes by_size = std::max(minus(host.total, std::max(8 * gib, host.total / 5)), host.total / 4);
  const Bytes wanted = config.host_memory.value_or(by_size);
  return std::min(wanted, held + minus(host.available, keep_free(config, host)));
}

Bytes budget_ahead(const Config& config, const HostMemory& host, Bytes held) {
  const Bytes stays = keep_free(config, host);
  return std::min(host_budget(config, host, held), held + minus(host.available, stays + stays / 4));
}

void Needs::add(Bytes need) {
  sum_ += need;
  ++count_;
  next_smallest_ = std::min(next_smallest_, std::max(need, smallest_));
  smallest_ = std::min(smallest_, need);
}

Needs Needs::without(Bytes one) const {
  Needs rest = *this;
  rest.sum_ -= one;
  --rest.count_;
  if (one == smallest_) rest.smallest_ = next_smallest_;
  return rest;
}

std::optional<Bytes> admit_limit(const Needs& others, Bytes own, Bytes budget, Bytes fits) {
  if (others.none()) return std::nullopt;
  // With x for this client: sum + x - min(x, smallest) <= budget.
  const Bytes by_place = budget >= others.sum() ? budget - others.sum() + others.smallest() : 0;
  return std::max({by_place, fits, own});  // what is there already is never refused
}

}  // namespace lull
