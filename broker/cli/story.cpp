#include "broker/cli/story.h"

#include <algorithm>
#include <array>

#include "broker/cli/show.h"

namespace lull::cli {
namespace {

std::uint64_t at_place(const json& point, std::size_t place) {
  return point.is_array() && place < point.size() && point[place].is_number_unsigned()
             ? point[place].get<std::uint64_t>()
             : 0;
}

int rank_of(const Actor& actor) {
  if (actor.klass == "inference") return 0;
  if (actor.klass == "interactive") return 1;
  return actor.klass == "training" ? 2 : 3;
}

// What an actor did until now ends here.
void close_stretch(Actor& actor, Nanoseconds at) {
  if (actor.doings.empty()) return;
  auto& last = actor.doings.back();
  if (last.to == 0) last.to = std::max(at, last.from);
}

void read_point(CardStory& card, const json& point, const json& names) {
  const auto at = at_place(point, 0), client = at_place(point, 1), doing = at_place(point, 2);
  auto found = std::find_if(card.actors.begin(), card.actors.end(), [&](const Actor& a) { return a.client == client; });
  if (found == card.actors.end() || at == 0) return;
  found->memory.push_back({at, at_place(point, 3)});
  const auto name = doing < names.size() && names[doing].is_string() ? names[doing].get<std::string>() : "unknown";
  if (!found->doings.empty() && found->doings.back().to == 0 && found->doings.back().doing == name) return;
  close_stretch(*found, at);
  if (name != "gone") found->doings.push_back({at, 0, name});
}

CardStory read_card(const json& gpu, const json& names, Nanoseconds now) {
  CardStory card;
  card.number = number(gpu, "gpu");
  card.memory = number(gpu, "memory");
  card.uuid = text(gpu, "uuid");
  for (const auto& c : part(gpu, "clients"))
    card.actors.push_back({number(c, "client"), number(c, "pid"), text(c, "tenant"), text(c, "class"), {}, {}});
  card.actors.push_back({0, 0, "not under Lull", "", {}, {}});
  for (const auto& point : part(gpu, "points")) read_point(card, point, names);
  std::erase_if(card.actors, [](const Actor& a) { return a.memory.empty(); });
  for (auto& actor : card.actors) close_stretch(actor, now);
  std::stable_sort(card.actors.begin(), card.actors.end(),
                   [](const Actor& a, const Actor& b) { return rank_of(a) < rank_of(b); });
  return card;
}

// The parts follow each other: what a phase took beyond those before it, as lull metrics counts it.
void read_parts(SwitchStory& s, const json& phases) {
  constexpr std::array<std::array<const char*, 2>, 6> names = {{{"closed", "close"},
                                                                {"drained", "drain"},
                                                                {"evicted", "evict"},
                                                                {"restored", "restore"},
                                                                {"opened", "open"},
                                                                {"first_kernel", "first kernel"}}};
  if (s.seen == 0 || s.first_kernel < s.seen) return;
  Nanoseconds at = s.seen;
  for (const auto& [key, name] : names) {
    const auto end = number(phases, key);
    if (end == 0) continue;
    const auto to = std::clamp(end, at, s.first_kernel);
    s.parts.push_back({name, at, to});
    at = to;
  }
}

SwitchStory read_switch(const json& event) {
  SwitchStory s;
  s.id = number(event, "id");
  s.to = number(part(event, "to"), "client");
  for (const auto& victim : part(event, "from")) s.from.push_back(number(victim, "client"));
  s.reason = text(event, "reason");
  const auto preemption = event.find("preemption");
  s.preemption = preemption != event.end() && preemption->is_boolean() && preemption->get<bool>();
  s.evicted_bytes = number(event, "evicted_bytes");
  s.restored_bytes = number(event, "restored_bytes");
  const auto& phases = part(event, "phases");
  s.seen = number(phases, "seen");
  s.first_kernel = number(phases, "first_kernel");
  s.ended = number(phases, "ended");
  read_parts(s, phases);
  return s;
}

void read_event(CardStory& card, const json& event) {
  const auto kind = text(event, "event");
  if (kind == "switch") {
    if (auto s = read_switch(event); s.seen != 0) card.switches.push_back(std::move(s));
  } else if (kind == "lease_end") {
    for (auto& s : card.switches)
      if (s.id == number(event, "id")) s.ended = number(event, "t_ns");
  } else if (kind == "stuck" || kind == "overdue" || kind == "refused") {
    card.troubles.push_back({number(event, "t_ns"), number(part(event, "client"), "client"), kind, text(event, "why")});
  }
}

Nanoseconds beginning(const Story& story) {
  Nanoseconds first = story.end;
  for (const auto& card : story.cards) {
    for (const auto& actor : card.actors) first = std::min(first, actor.memory.front().at);
    for (const auto& s : card.switches) first = std::min(first, s.seen);
  }
  return first;
}

}  // namespace

std::uint64_t Actor::resident_at(Nanoseconds at) const {
  const auto after =
      std::upper_bound(memory.begin(), memory.end(), at, [](Nanoseconds t, const Sample& s) { return t < s.at; });
  return after == memory.begin() ? 0 : std::prev(after)->resident;
}

const Actor* CardStory::actor(std::uint64_t client) const {
  const auto at = std::find_if(actors.begin(), actors.end(), [client](const Actor& a) { return a.client == client; });
  return client == 0 || at == actors.end() ? nullptr : &*at;
}

Story story_of(const json& chart, const std::vector<json>& events) {
  Story story;
  story.end = number(chart, "now_ns");
  for (const auto& gpu : part(chart, "gpus")) story.cards.push_back(read_card(gpu, part(chart, "doings"), story.end));
  for (const auto& event : events)
    for (auto& card : story.cards)
      if (event.is_object() && text(event, "gpu") == card.uuid) read_event(card, event);
  story.begin = beginning(story);
  return story;
}

}  // namespace lull::cli
