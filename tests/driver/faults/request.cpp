#include "tests/driver/faults/request.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "tests/driver/card/units.h"
#include "tests/driver/surface/cuda_all.h"

namespace lull::sim {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// The first word, taken from the text.
std::string_view take_word(std::string_view& text) {
  text = trimmed(text);
  const auto end = std::min(text.find_first_of(" \t"), text.size());
  const auto word = text.substr(0, end);
  text = trimmed(text.substr(end));
  return word;
}

template <class T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int> error_of(std::string_view text) {
  if (const auto number = whole_number<int>(text)) return *number > 0 ? number : std::nullopt;
#define ERROR(name, words) \
  if (text == #name && name != CUDA_SUCCESS) return static_cast<int>(name);
#include "tests/driver/surface/errors.inc"
#undef ERROR
  return std::nullopt;
}

std::optional<Occasion> occasion_of(std::string_view text) {
  if (text == "*") return Occasion{1, true};
  Occasion occasion;
  occasion.and_later = text.ends_with('+');
  if (occasion.and_later) text.remove_suffix(1);
  const auto number = whole_number<std::uint64_t>(text);
  if (!number || *number == 0) return std::nullopt;
  occasion.nth = *number;
  return occasion;
}

bool wrong(std::string& problem, std::string_view what, const char* expected) {
  problem = "'" + std::string(what) + "': expected " + expected;
  return false;
}

bool parse_action(std::string_view text, Request& out, std::string& problem) {
  std::string_view rest = text;
  const auto word = take_word(rest);
  if (word == "kill" && rest.empty()) {
    out.what = Request::What::kill;
    return true;
  }
  if (word == "delay") {
    const auto time = parse_duration_ns(rest);
    if (!time || *time > 3'600'000'000'000) return wrong(problem, rest, "a time of at most an hour such as 10ms");
    out.what = Request::What::delay;
    out.delay_ns = *time;
    return true;
  }
  const auto error = error_of(text);
  if (!error) return wrong(problem, text, "the number or name of an error, delay TIME, or kill");
  out.what = Request::What::fail;
  out.error = *error;
  return true;
}

bool parse_call(std::string_view text, Request& out, std::string& problem) {
  const auto equals = text.find('='), colon = std::min(text.find(':'), equals);
  if (equals == std::string_view::npos || colon == equals)
    return wrong(problem, text,
                 "FUNCTION:WHEN=ACTION such as cuMemCreate:3=2, or corrupt, shrink, hang, release, clear");
  out.function = trimmed(text.substr(0, colon));
  if (!out.function.starts_with("cu")) return wrong(problem, out.function, "an exported function such as cuMemCreate");
  const auto when = trimmed(text.substr(colon + 1, equals - colon - 1));
  const auto occasion = occasion_of(when);
  if (!occasion) return wrong(problem, when, "N, N+ or *, counting calls from 1");
  out.occasion = *occasion;
  return parse_action(trimmed(text.substr(equals + 1)), out, problem);
}

bool parse_corrupt(std::string_view rest, Request& out, std::string& problem) {
  const auto colon = std::min(rest.find(':'), rest.size());
  out.way = rest.substr(0, colon);
  const auto occasion = occasion_of(colon < rest.size() ? rest.substr(colon + 1) : std::string_view());
  if ((out.way != "h2d" && out.way != "d2h" && out.way != "d2d") || !occasion)
    return wrong(problem, rest, "h2d, d2h or d2d, and when, such as d2h:3");
  out.occasion = *occasion;
  return true;
}

bool parse_shrink(std::string_view rest, Request& out, std::string& problem) {
  const auto size = take_word(rest);
  const auto bytes = size == "0" ? std::optional<std::uint64_t>(0) : parse_size(size);
  if (!bytes) return wrong(problem, size, "a size such as 256MiB, or 0");
  const auto card = rest.empty() ? std::optional<int>(0) : whole_number<int>(rest);
  if (!card || *card < 0) return wrong(problem, rest, "the number of a card");
  out.bytes = *bytes;
  out.card = *card;
  return true;
}

bool parse_stream(std::string_view rest, Request& out, std::string& problem) {
  const auto number = rest == "any" ? std::optional<std::uint32_t>(0) : whole_number<std::uint32_t>(rest);
  if (!number || (*number == 0 && rest != "any")) return wrong(problem, rest, "the number of a stream, from 1, or any");
  out.stream = *number;
  return true;
}

}  // namespace

bool parse_request(std::string_view text, Request& out, std::string& problem) {
  using What = Request::What;
  Request read;
  std::string_view rest = trimmed(text);
  const std::string_view whole = rest;
  const auto word = take_word(rest);
  bool good = false;
  if (word == "corrupt") {
    read.what = What::corrupt;
    good = parse_corrupt(rest, read, problem);
  } else if (word == "shrink") {
    read.what = What::shrink;
    good = parse_shrink(rest, read, problem);
  } else if (word == "hang" || word == "release") {
    read.what = word == "hang" ? What::hang : What::release;
    good = parse_stream(rest, read, problem);
  } else if (whole == "clear") {
    good = true;
  } else {
    good = parse_call(whole, read, problem);
  }
  if (good) out = std::move(read);
  return good;
}

bool parse_requests(std::string_view text, std::vector<Request>& out, std::string& problem) {
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of(";\n"), text.size());
    if (const auto one = trimmed(text.substr(0, end)); !one.empty()) {
      Request request;
      if (!parse_request(one, request, problem)) return false;
      out.push_back(std::move(request));
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return true;
}

}  // namespace lull::sim
