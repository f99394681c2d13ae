// broker/cli/show.h: the broker's answers, read with care and shown to people. It may be of another version: what it
// does not say is shown as a dash.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "broker/cli/arguments.h"
#include "broker/cli/cli.h"

namespace lull::cli {

using nlohmann::json;

std::string text(const json& object, const char* key);
std::uint64_t number(const json& object, const char* key);
const json& part(const json& object, const char* key);  // empty if there is no such object or array
std::string bytes(std::uint64_t n);                     // "19.5GiB"; 0: "-"
std::string time(std::uint64_t ns);                     // "12s"; 0: "-"

std::string why_of(const json& client);  // its sentence, with the end of its owner's word

std::string one_line(const json&);  // never throws, whatever bytes names hold

// One question, one line. False: it has complained, and `code` is the exit status.
bool ask(const std::string& runtime_dir, const json& request, std::string& line, int& code);
json object_in(const std::string& line, int& code);  // null: it has complained
// Both, for requests that can be refused: the broker's error is complained about, too.
json answer_to(const std::string& runtime_dir, const json& request, int& code);

// Asks for the status ten times a second until it is enough. False: it has not been within `longest_ns`, or it could
// not be asked (it has complained, and `code` is not ok).
bool await_status(const std::string& runtime_dir, std::uint64_t longest_ns,
                  const std::function<bool(const json& status)>& enough, int& code);
std::string clock_after(std::uint64_t ns);  // "14:32:07", local time

}  // namespace lull::cli
