// broker/cli/story.h: what has happened on the cards, as `lull trace` draws and exports it: from the broker's chart
// (who was doing what when, how much memory was resident) and its events (switches, troubles). The broker may be of
// another version: what cannot be read is left out.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lull::cli {

using Nanoseconds = std::uint64_t;  // CLOCK_MONOTONIC

struct Stretch {
  Nanoseconds from, to;
  std::string doing;  // the broker's word: "running", "evicted", ...
};

struct Sample {
  Nanoseconds at;
  std::uint64_t resident;
};

// A client, or (client 0) all programs that are not under Lull.
struct Actor {
  std::uint64_t client = 0, pid = 0;
  std::string tenant, klass;
  std::vector<Stretch> doings;
  std::vector<Sample> memory;
  std::uint64_t resident_at(Nanoseconds) const;
};

struct Part {
  std::string name;
  Nanoseconds from, to;
};

struct SwitchStory {
  std::uint64_t id = 0, to = 0;
  std::vector<std::uint64_t> from;
  std::string reason;
  bool preemption = false;
  std::uint64_t evicted_bytes = 0, restored_bytes = 0;
  Nanoseconds seen = 0, first_kernel = 0, ended = 0;  // 0: not, or not yet
  std::vector<Part> parts;                            // one after the other, from seen to first_kernel
};

struct Trouble {
  Nanoseconds at;
  std::uint64_t client;
  std::string what, why;
};

struct CardStory {
  std::uint64_t number = 0, memory = 0;
  std::string uuid;
  std::vector<Actor> actors;  // the higher class first, then in order of arrival
  std::vector<SwitchStory> switches;
  std::vector<Trouble> troubles;
  const Actor* actor(std::uint64_t client) const;
};

struct Story {
  Nanoseconds begin = 0, end = 0;
  std::vector<CardStory> cards;
};

Story story_of(const nlohmann::json& chart, const std::vector<nlohmann::json>& events);

}  // namespace lull::cli
