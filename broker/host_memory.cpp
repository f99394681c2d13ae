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

namespace {
Bytes whole_budget(const Config& config, const HostMemory& host) {
  const Bytes by_size = std::max(minus(host.total, std::max(8 * gib, host.total / 5)), host.total / 4);
  return config.host_memory.value_or(by_size);
}
}  // namespace

Bytes user_share(const Config& config, const HostMemory& host, bool alone) {
  const Bytes all = whole_budget(config, host);
  return config.host_memory_per_uid.value_or(alone || !config.spill_path.empty() ? all : all - all / 8);
}

Bytes host_budget(const Config& config, const HostMemory& host, Bytes held) {
  return std::min(whole_budget(config, host), held + minus(host.available, keep_free(config, host)));
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

void UserNeeds::add(unsigned uid, Bytes need) {
  for (auto& user : users_)
    if (user.uid == uid) return user.needs.add(need);
  users_.push_back({uid, {}});
  users_.back().needs.add(need);
}

UserNeeds::Others UserNeeds::beside(unsigned uid, std::optional<Bytes> need, Bytes share) const {
  Others others;
  for (const auto& user : users_) {
    const Needs needs = user.uid == uid && need ? user.needs.without(*need) : user.needs;
    if (needs.none()) continue;
    if (user.uid == uid)
      others.of_user = needs;
    else
      others.of_all_else += std::min(needs.sum(), share);
    others.smallest = std::min(others.smallest, needs.smallest());
  }
  return others;
}

std::optional<Bytes> admit_limit(const UserNeeds::Others& others, Bytes own, const Place& place) {
  if (others.smallest == ~Bytes{0}) return std::nullopt;  // there are none
  const auto left = [](Bytes of, Bytes taken, Bytes stays) { return of >= taken ? of - taken + stays : 0; };
  // With x for this client: sum + x - min(x, smallest) <= budget. Only one of the user's own stays for its share.
  const Bytes in_budget = left(place.budget, others.of_user.sum() + others.of_all_else, others.smallest);
  const bool alone = others.of_all_else == 0;
  const Bytes in_share = left(place.share, others.of_user.sum(), alone ? others.of_user.smallest() : 0);
  return std::max({std::min(in_budget, in_share), place.fits, own});  // what is there already is never refused
}

}  // namespace lull
