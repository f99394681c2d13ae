// tests/gpu/facts/fact.h: one question to a card and its driver, as one function that measures and says what it found.
//
// A fact runs in a process of its own, so that an error that the context keeps, or a hang, costs no other fact; it
// makes its own context. It uses the public Driver API alone, leaves the card's settings as they are, and takes no more
// of its memory than a share of what is free. Whatever it makes goes with its process.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace lull::facts {

using json = nlohmann::json;

class Fact {
 public:
  json figures = json::object();  // names with their units: "h2d_bytes_per_s", "map_us"
  std::string sentence;           // what they say, for people
  bool quick = false;             // small sizes and few repetitions: to see that it works, not to measure
};

// This card, driver or machine does not have what the question is about; the answer is open.
struct Skip : std::runtime_error {
  using runtime_error::runtime_error;
};

struct Entry {
  const char* name;
  const char* asks;  // "E1 E4": questions of the project's list, in docs/gpu-facts.md
  const char* question;
  void (*body)(Fact&);
};
std::vector<Entry>& entries();  // in the order in which they run

struct Registered {
  explicit Registered(const Entry& entry) { entries().push_back(entry); }
};
#define FACT(name, asks, question)                                               \
  static void name(Fact&);                                                       \
  static const Registered registered_##name{Entry{#name, asks, question, name}}; \
  static void name([[maybe_unused]] Fact& fact)

}  // namespace lull::facts
