#include "broker/cli/arguments.h"

#include <CLI/CLI.hpp>

namespace lull::cli {
namespace {

const std::vector<std::string> classes = {"training", "interactive", "inference"};

// For a terminal: no line is longer than 80 columns, and lines that were there stay.
std::string wrapped(const std::string& text) {
  std::string all, word;
  std::size_t column = 0;
  for (const char c : text + "\n") {
    if (c != ' ' && c != '\n') {
      word += c;
      continue;
    }
    if (column != 0) column + 1 + word.size() > 80 ? (all += '\n', column = 0) : (all += ' ', ++column);
    all += word;
    column += word.size();
    word.clear();
    if (c == '\n') all += '\n', column = 0;
  }
  all.pop_back();
  return all;
}

}  // namespace

const char* placeholder(Takes takes) {
  switch (takes) {
    case Takes::nothing: return "";
    case Takes::time: return "TIME";
    case Takes::size: return "SIZE";
    case Takes::file: return "FILE";
    case Takes::directory: return "DIR";
    case Takes::tenant: return "WHOM";
    case Takes::klass: return "CLASS";
    case Takes::command: return "COMMAND";
    case Takes::text:
    case Takes::choice: break;
  }
  return "TEXT";
}

void Arguments::about(const std::string& paragraphs) {
  paragraphs_ = paragraphs;
  app_.footer(wrapped(paragraphs));
}

void Arguments::flag(const std::string& name, bool& value, const std::string& help) {
  app_.add_flag(name, value, help);
  parameters_.push_back({.name = name, .help = help});
}

void Arguments::option(const std::string& name, Takes takes, std::string& value, const std::string& help) {
  auto* option = app_.add_option(name, value, help)->type_name(placeholder(takes));
  if (!value.empty()) option->capture_default_str();
  parameters_.push_back({.name = name, .takes = takes, .help = help, .initial = value});
  if (takes == Takes::klass) parameters_.back().choices = classes;
}

void Arguments::optional_operand(const std::string& name, Takes takes, std::string& value, const std::string& help) {
  app_.add_option(name, value, help)->type_name("");
  parameters_.push_back({.name = name, .takes = takes, .help = help, .initial = value, .operand = true});
}

void Arguments::operand(const std::string& name, Takes takes, std::string& value, const std::string& help) {
  app_.add_option(name, value, help)->type_name("")->required();
  parameters_.push_back({.name = name, .takes = takes, .help = help, .operand = true, .required = true});
}

void Arguments::choice(const std::string& name, const std::vector<std::string>& choices, std::string& value,
                       const std::string& help) {
  app_.add_option(name, value, help)->type_name("")->required()->check(CLI::IsMember(choices));
  parameters_.push_back({.name = name,
                         .takes = Takes::choice,
                         .help = help,
                         .initial = value,
                         .choices = choices,
                         .operand = true,
                         .required = true});
}

void Arguments::command(const std::string& name, std::vector<std::string>& value, const std::string& help,
                        bool required) {
  app_.add_option(name, value, help)->type_name("")->required(required);
  app_.positionals_at_end();
  parameters_.push_back({.name = name, .takes = Takes::command, .help = help, .operand = true, .required = required});
}

}  // namespace lull::cli
