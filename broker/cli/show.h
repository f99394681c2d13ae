// broker/cli/show.h: the broker's answers, read with care and shown to people. It may be of another version: what it
// does not say is shown as a dash.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "broker/cli/cli.h"

namespace lull::cli {

using nlohmann::json;

std::string text(const json& object, const char* key);
std::uint64_t number(const json& object, const char* key);
const json& part(const json& object, const char* key);  // empty if there is no such object or array
std::string bytes(std::uint64_t n);                     // "19.5GiB"; 0: "-"
std::string time(std::uint64_t ns);                     // "12s"; 0: "-"

// One question, one line. False: it has complained, and `code` is the exit status.
bool ask_with(const std::string& runtime_dir, const std::string& request, std::string& line, int& code);
bool ask(const std::string& runtime_dir, const std::string& command, std::string& line, int& code);
json object_in(const std::string& line, int& code);  // null: it has complained

}  // namespace lull::cli
