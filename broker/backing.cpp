#include "broker/backing.h"

#include <algorithm>
#include <vector>

#include "broker/units.h"

namespace lull {
namespace {

using policy::Bytes;
using policy::Time;
constexpr Bytes granule = 2 * mib;

Bytes round_up(Bytes bytes, Bytes unit) { return (bytes + unit - 1) / unit * unit; }

Bytes unit(const Backed& b) { return round_up(std::max(b.chunk, granule), granule); }
Bytes least_piece(const Backed& b) { return std::max(unit(b), std::min(64 * mib, 16 * unit(b))); }

// Pieces are whole chunks, between one and 1 GiB: registered with the driver in one go, soon usable, not too many.
Bytes piece(const Backed& b, Bytes target) {
  const Bytes least = least_piece(b);
  return round_up(std::clamp(target - b.backing, least, std::max(least, 1024 * mib)), unit(b));
}

Bytes in_memory(const Backed& b) { return b.backing - std::min(b.away, b.backing); }

// Of what is allocated, what has to have a place while others are there.
Bytes may_leave(const Backed& b) { return std::max(b.evicted, std::min(b.needed, b.deficit)); }

Bytes wanted_by(const Backed& b, const BackingNeed& need) { return b.needed == 0 ? 0 : b.needed + need.overhead; }

class Round {
 public:
  Round(std::span<const Claim> claims, const ArenaLimits& limits) : claims_(claims), limits_(limits) {
    for (const auto& c : claims) taken_by(c.client.uid) += in_memory(c.client);
    for (const auto& user : users_) held_ += std::min(user.taken, limits.per_uid);  // more was never given
  }
  Bytes held() const { return held_; }
  // A piece for the first whom `target` gives more than it has; a smaller one, where there is no room for all of it.
  template <class F>
  std::optional<Growth> first(Bytes budget, F&& target) const {
    for (const auto& c : claims_) {
      const Bytes wanted = std::min(target(c), c.limit);
      if (c.client.needed == 0 || c.client.backing >= wanted) continue;
      const auto user = std::find_if(users_.begin(), users_.end(), [&](auto& u) { return u.uid == c.client.uid; });
      const Bytes room = std::min(left(budget, held_), left(limits_.per_uid, user->taken));
      const Bytes bytes = std::min(piece(c.client, wanted), room / unit(c.client) * unit(c.client));
      if (bytes >= least_piece(c.client)) return Growth{c.client.id, bytes};
    }
    return std::nullopt;
  }

 private:
  static Bytes left(Bytes of, Bytes taken) { return of - std::min(of, taken); }
  Bytes& taken_by(unsigned uid) {
    for (auto& user : users_)
      if (user.uid == uid) return user.taken;
    return users_.emplace_back(uid).taken;
  }
  std::span<const Claim> claims_;
  const ArenaLimits& limits_;
  struct User {
    explicit User(unsigned number) : uid(number) {}
    unsigned uid;
    Bytes taken = 0;
  };
  std::vector<User> users_;
  Bytes held_ = 0;
};

}  // namespace

const char* name_of(Pressure p) {
  constexpr const char* names[] = {"none", "tight", "severe"};
  return names[static_cast<std::size_t>(p)];
}

Pressure pressure_of(Bytes available, Bytes keep_free) {
  if (available >= keep_free) return Pressure::none;
  return available >= keep_free / 2 ? Pressure::tight : Pressure::severe;
}

PressureMemory remember_pressure(PressureMemory m, Pressure seen, Time now, Time linger) {
  if (seen >= m.level || now - std::min(now, m.seen) >= linger) return {seen, now};
  return m;
}

BackingNeed remember_need(BackingNeed need, const Backed& b, Time now, Time linger) {
  need.overhead = std::max(need.overhead, b.chunk);
  // It has room for everything and could not evict: its places do not fit its chunks. Never more than twice its needs.
  if (b.starved && b.backing >= b.needed + need.overhead && need.overhead < b.needed + b.chunk)
    need.overhead = b.backing - b.needed + b.chunk;
  // At the first look, what it brings along (from an earlier broker) is needed until its programs have said otherwise.
  const Bytes wanted = need.most_at == 0 ? std::max(wanted_by(b, need), b.backing) : wanted_by(b, need);
  if (wanted < need.most && now - std::min(now, need.most_at) < linger) return need;
  need.most = wanted;
  need.most_at = now;
  return need;
}

Bytes backing_limit(const Backed& b, const BackingNeed& need, Pressure pressure) {
  if (pressure == Pressure::none) return need.most;
  const bool in_use = b.starved || b.evicted > 0;
  const Bytes must = pressure == Pressure::severe && !in_use ? 0 : b.starved ? b.needed : may_leave(b);
  return must == 0 ? 0 : std::min(need.most, must + need.overhead);
}

Claim claim_of(const Backed& b, const BackingNeed& need, Pressure pressure) {
  return {b, wanted_by(b, need), backing_limit(b, need, pressure)};
}

namespace {

constexpr auto cannot_go_on = [](const Claim& c) { return c.client.starved ? c.wanted : 0; };
constexpr auto may_have_to = [](const Claim& c) {
  const Bytes leaves = may_leave(c.client);
  return leaves == 0 ? 0 : leaves + c.client.chunk;
};
constexpr auto everything = [](const Claim& c) { return c.wanted; };

}  // namespace

std::optional<Growth> next_growth(std::span<const Claim> claims, const ArenaLimits& limits) {
  const Round round(claims, limits);
  if (const auto growth = round.first(limits.budget, cannot_go_on)) return growth;
  if (const auto growth = round.first(limits.budget, may_have_to)) return growth;
  return round.first(claims.size() == 1 ? std::min(limits.ahead, limits.budget / 2) : limits.ahead, everything);
}

Bytes unserved_growth(std::span<const Claim> claims, const ArenaLimits& limits) {
  const Round now(claims, limits);
  if (now.first(limits.budget, cannot_go_on) || now.first(limits.budget, may_have_to)) return 0;
  constexpr Bytes no_end = ~Bytes{0} / 2;
  const ArenaLimits none{no_end, no_end, no_end};
  const Round round(claims, none);
  auto growth = round.first(no_end, cannot_go_on);
  if (!growth) growth = round.first(no_end, may_have_to);
  return growth ? growth->bytes - std::min(growth->bytes, limits.budget - std::min(limits.budget, round.held())) : 0;
}

}  // namespace lull
