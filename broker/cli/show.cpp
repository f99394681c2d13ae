#include "broker/cli/show.h"

#include <fmt/format.h>
#include <time.h>

#include <ctime>

#include "broker/units.h"

namespace lull::cli {

std::string text(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : "-";
}

std::uint64_t number(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

const json& part(const json& object, const char* key) {
  static const json nothing = json::object();
  const auto at = object.find(key);
  return at != object.end() && (at->is_object() || at->is_array()) ? *at : nothing;
}

std::string bytes(std::uint64_t n) {
  if (n == 0) return "-";
  if (n >= 10ull << 30) return fmt::format("{:.1f}GiB", static_cast<double>(n) / (1ull << 30));
  return fmt::format("{:.0f}MiB", static_cast<double>(n) / (1ull << 20));
}

std::string time(std::uint64_t ns) {
  if (ns == 0) return "-";
  if (ns < 10 * policy::second) return fmt::format("{:.1f}ms", static_cast<double>(ns) / 1e6);
  const auto seconds = ns / policy::second;
  if (seconds < 120) return fmt::format("{}s", seconds);
  return seconds < 7200 ? fmt::format("{}min", seconds / 60)
                        : fmt::format("{}h{:02}min", seconds / 3600, seconds / 60 % 60);
}

std::string why_of(const json& client) {
  const auto left = number(client, "order_left_ns");
  return text(client, "sentence") + (left ? fmt::format(", for another {}", time(left)) : "");
}

std::string one_line(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

bool ask(const std::string& runtime_dir, const json& request, std::string& line, int& code) {
  auto broker = Connection::open(runtime_dir, code);
  if (!broker) return false;
  if (broker.send(one_line(request)) && broker.receive(line)) return true;
  code = complain(failure, "lulld has hung up without an answer; `lull doctor` looks at it");
  return false;
}

json object_in(const std::string& line, int& code) {
  auto answer = json::parse(line, nullptr, false);
  if (answer.is_object()) return answer;
  code = complain(failure, "lulld's answer is no JSON object; is it of another version?");
  return nullptr;
}

json answer_to(const std::string& runtime_dir, const json& request, int& code) {
  std::string line;
  if (!ask(runtime_dir, request, line, code)) return nullptr;
  auto answer = object_in(line, code);
  if (answer.is_null() || !answer.contains("error")) return answer;
  const auto error = text(answer, "error");
  const bool unknown = error.starts_with("unknown cmd");
  code = complain(failure, unknown ? fmt::format("this lulld does not know \"{}\": it is older than this lull. Restart "
                                                 "it (sudo systemctl restart lulld)",
                                                 text(request, "cmd"))
                                   : error);
  return nullptr;
}

bool await_status(const std::string& runtime_dir, std::uint64_t longest_ns,
                  const std::function<bool(const json& status)>& enough, int& code) {
  constexpr policy::Time look_every = 100 * policy::ms;
  for (policy::Time waited = 0; waited < longest_ns; waited += look_every) {
    const auto status = answer_to(runtime_dir, {{"cmd", "status"}}, code);
    if (status.is_null()) return false;
    if (enough(status)) return true;
    const timespec pause{0, static_cast<long>(look_every)};
    (void)::nanosleep(&pause, nullptr);
  }
  return false;
}

std::string clock_after(std::uint64_t ns) {
  const std::time_t then = ::time(nullptr) + static_cast<std::time_t>(ns / policy::second);
  tm parts{};
  char text[16] = "?";
  if (::localtime_r(&then, &parts)) (void)std::strftime(text, sizeof text, "%H:%M:%S", &parts);
  return text;
}

}  // namespace lull::cli
