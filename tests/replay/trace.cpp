#include "tests/replay/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "broker/units.h"

namespace lull::replay {
namespace {

using Words = std::vector<std::string>;

struct Bad {
  std::string why;
};

Words words_of(std::string line) {
  line.resize(std::min(line.size(), line.find('#')));
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

Time time_of(const std::string& word) {
  const auto time = parse_time(word);
  if (!time) throw Bad{fmt::format("\"{}\" is no time; say for example \"12.5s\" or \"20ms\"", word)};
  return *time;
}

Bytes bytes_of(const std::string& word) {
  const auto bytes = parse_bytes(word);
  if (!bytes) throw Bad{fmt::format("\"{}\" is no size; say for example \"20GiB\"", word)};
  return *bytes;
}

// "key=value", the key one of those that `set` knows.
template <class Set>
void setting(const std::string& word, Set set) {
  const auto equals = word.find('=');
  if (equals == std::string::npos || !set(word.substr(0, equals), word.substr(equals + 1)))
    throw Bad{fmt::format("\"{}\" is not known here", word)};
}

class Parser {
 public:
  Trace trace;

  void line(const Words& words) {
    if (words[0] == "card") return card(words);
    if (words[0] == "tenant") return tenant(words);
    if (words[0] == "pipeline") return pipeline(words);
    if (words[0] == "until" && words.size() == 2) return void(trace.until = time_of(words[1]));
    request(words);
  }

  void finish() const {
    if (trace.tenants.empty()) throw Bad{"no tenant is named"};
    if (trace.until == 0) throw Bad{"it does not say until when"};
    if (!trace.requests.empty() && trace.requests.back().at > trace.until) throw Bad{"a request comes after the end"};
  }

 private:
  void card(const Words& words) {
    for (std::size_t i = 1; i < words.size(); ++i)
      setting(words[i], [&](const std::string& key, const std::string& value) {
        if (key == "memory") return trace.memory = bytes_of(value), true;
        if (key == "headroom") return trace.headroom = bytes_of(value), true;
        if (key == "native") return trace.native = bytes_of(value), true;
        if (key == "link") return trace.link = static_cast<double>(bytes_of(value)), trace.link > 0;
        if (key == "hash") return trace.hash = static_cast<double>(bytes_of(value)), trace.hash > 0;
        if (key != "both") return false;
        trace.both = std::strtod(value.c_str(), nullptr);
        return trace.both > 0 && trace.both <= 1;
      });
  }

  void tenant(const Words& words) {
    if (words.size() < 4) throw Bad{"a tenant has a name, a class and memory"};
    Tenant t;
    t.name = words[1];
    const auto klass = parse_class(words[2].c_str());
    if (!klass) throw Bad{fmt::format("\"{}\" is no class; there are training, interactive and inference", words[2])};
    t.klass = *klass;
    t.memory = bytes_of(words[3]);
    for (std::size_t i = 4; i < words.size(); ++i)
      setting(words[i], [&](const std::string& key, const std::string& value) {
        return key == "kernel" && (t.kernel = time_of(value), true);
      });
    if (t.memory + trace.native + trace.headroom > trace.memory)
      throw Bad{fmt::format("{} does not fit the card", t.name)};
    trace.tenants.push_back(t);
  }

  void pipeline(const Words& words) {
    ++pipelines_;
    for (std::size_t i = 1; i < words.size(); ++i) {
      Tenant& stage = trace.tenants[find(words[i])];
      if (stage.pipeline != 0) throw Bad{fmt::format("{} is in a pipeline already", stage.name)};
      stage.pipeline = pipelines_;
    }
  }

  std::size_t find(const std::string& name) const {
    for (std::size_t i = 0; i < trace.tenants.size(); ++i)
      if (trace.tenants[i].name == name) return i;
    throw Bad{fmt::format("no tenant is called \"{}\"", name)};
  }

  void request(const Words& words) {
    Request r;
    r.at = time_of(words[0]);
    if (!trace.requests.empty() && r.at < trace.requests.back().at) throw Bad{"it is earlier than the line before"};
    std::size_t next = 1;
    if (next < words.size() && words[next] == "nested") r.nested = true, ++next;
    if (next < words.size() && words[next] == "probe") r.probe = true, ++next;
    for (; next < words.size(); ++next) r.stages.push_back(stage(words[next], r.probe));
    if (r.stages.empty()) throw Bad{"it does not say of whom something is wanted"};
    trace.requests.push_back(r);
  }

  Stage stage(const std::string& word, bool probe) const {
    if (probe) return {find(word), 0};
    const auto colon = word.find(':');
    if (colon == std::string::npos) throw Bad{fmt::format("\"{}\" does not say how long; write NAME:TIME", word)};
    const Stage s{find(word.substr(0, colon)), time_of(word.substr(colon + 1))};
    if (trace.tenants[s.tenant].klass == Class::training) throw Bad{"nothing is asked of a trainer"};
    return s;
  }

  std::uint32_t pipelines_ = 0;
};

}  // namespace

std::variant<Trace, TraceProblem> parse_trace(std::string_view text, const std::string& name) {
  Parser parser;
  std::istringstream in{std::string(text)};
  unsigned number = 0;
  try {
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (const Words words = words_of(line); !words.empty()) parser.line(words);
    }
    parser.finish();
  } catch (const Bad& bad) {
    return TraceProblem{fmt::format("{}:{}: {}", name, number, bad.why)};
  }
  return parser.trace;
}

}  // namespace lull::replay
