// broker/cli/arguments.h: what a command takes, said once: read from the command line, shown by --help, in the man
// page and by shell completion.
#pragma once
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lull::cli {

// What a value is, so that a shell can complete it.
enum class Takes { nothing, text, time, size, file, directory, tenant, klass, choice, command };

struct Parameter {
  std::string name;  // "--json", or "whom"
  Takes takes = Takes::nothing;
  std::string help;
  std::string initial;               // if it is left out
  std::vector<std::string> choices;  // Takes::choice, Takes::klass: these and nothing else
  bool operand = false, required = false;
};

class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(app) {}

  void about(const std::string& paragraphs);  // more than the line of help in the table
  void flag(const std::string& name, bool& value, const std::string& help);
  void option(const std::string& name, Takes, std::string& value, const std::string& help);
  void operand(const std::string& name, Takes, std::string& value, const std::string& help);  // must be there
  void optional_operand(const std::string& name, Takes, std::string& value, const std::string& help);
  void choice(const std::string& name, const std::vector<std::string>& choices, std::string& value,
              const std::string& help);  // an operand: one of these
  // The rest of the line is a program's, options and all.
  void command(const std::string& name, std::vector<std::string>& value, const std::string& help, bool required);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::string& paragraphs() const { return paragraphs_; }

 private:
  CLI::App& app_;
  std::vector<Parameter> parameters_;
  std::string paragraphs_;
};

const char* placeholder(Takes);  // "TIME"

}  // namespace lull::cli
