#include "broker/cli/trace_json.h"

#include <fmt/format.h>

#include <algorithm>

namespace lull::cli {
namespace {

using nlohmann::json;

constexpr std::uint64_t switches_track = 1;

double us(Nanoseconds t) { return static_cast<double>(t) / 1e3; }

std::uint64_t track_of(const Actor& actor) { return 10 + actor.client; }

// A card's events; each is on one of its tracks.
class Writer {
 public:
  Writer(json& events, const CardStory& card) : events_(events), card_(card), pid_(card.number + 1) {}

  void write() {
    name_tracks();
    for (const auto& actor : card_.actors) write_actor(actor);
    Nanoseconds free_from = 0;
    for (const auto& s : card_.switches) free_from = write_switch(s, free_from);
    for (const auto& trouble : card_.troubles) write_trouble(trouble);
  }

 private:
  void add(const char* phase, const std::string& name, std::uint64_t track, Nanoseconds at,
           json more = json::object()) {
    json event = {{"ph", phase}, {"name", name}, {"pid", pid_}, {"tid", track}, {"ts", us(at)}};
    event.update(more);
    events_.push_back(std::move(event));
  }

  void slice(const std::string& name, std::uint64_t track, Nanoseconds from, Nanoseconds to, json args) {
    add("X", name, track, from, {{"dur", us(to) - us(from)}, {"args", std::move(args)}});
  }

  void name_track(std::uint64_t track, const std::string& name, std::size_t place) {
    add("M", "thread_name", track, 0, {{"args", {{"name", name}}}});
    add("M", "thread_sort_index", track, 0, {{"args", {{"sort_index", place}}}});
  }

  void name_tracks() {
    add("M", "process_name", 0, 0, {{"args", {{"name", fmt::format("GPU {} {}", card_.number, card_.uuid)}}}});
    name_track(switches_track, "switches", 0);
    std::size_t place = 0;
    for (const auto& actor : card_.actors) name_track(track_of(actor), title(actor), ++place);
  }

  static std::string title(const Actor& actor) {
    return actor.client == 0 ? actor.tenant : fmt::format("{} ({}, pid {})", actor.tenant, actor.klass, actor.pid);
  }

  void write_actor(const Actor& actor) {
    for (const auto& s : actor.doings) slice(s.doing, track_of(actor), s.from, s.to, json::object());
    for (const auto& sample : actor.memory)
      add("C", "resident: " + title(actor), 0, sample.at, {{"args", {{"bytes", sample.resident}}}});
  }

  // Slices of a track may not cross: one that was asked for while the last was going on begins where that ended.
  Nanoseconds write_switch(const SwitchStory& s, Nanoseconds free_from) {
    const auto* to = card_.actor(s.to);
    if (to == nullptr || s.first_kernel < s.seen) return free_from;
    const auto from = std::max(s.seen, free_from), end = std::max(from, s.first_kernel);
    slice(fmt::format("{}: {}", s.preemption ? "preemption" : "switch", to->tenant), switches_track, from, end,
          {{"id", s.id},
           {"reason", s.reason},
           {"seen_ns", s.seen},
           {"evicted_bytes", s.evicted_bytes},
           {"restored_bytes", s.restored_bytes}});
    for (const auto& part : s.parts)
      if (part.to > from) slice(part.name, switches_track, std::max(part.from, from), part.to, json::object());
    const json flow = {{"cat", "request"}, {"id", s.id}};
    add("s", "request", switches_track, from, flow);
    json arrival = flow;
    arrival["bp"] = "e";  // it ends in the slice that is there, not in the next one
    add("f", "request", track_of(*to), end, arrival);
    return end;
  }

  void write_trouble(const Trouble& trouble) {
    if (const auto* actor = card_.actor(trouble.client))
      add("i", trouble.what, track_of(*actor), trouble.at, {{"s", "t"}, {"args", {{"why", trouble.why}}}});
  }

  json& events_;
  const CardStory& card_;
  std::uint64_t pid_;
};

}  // namespace

json trace_of(const Story& story) {
  json events = json::array();
  for (const auto& card : story.cards) Writer(events, card).write();
  return {{"displayTimeUnit", "ms"},
          {"otherData", {{"clock", "CLOCK_MONOTONIC"}, {"program", "lull " LULL_VERSION}}},
          {"traceEvents", std::move(events)}};
}

}  // namespace lull::cli
