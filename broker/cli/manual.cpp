// broker/cli/manual.cpp: lull(1), for man, from what the commands say of themselves.
#include <fmt/format.h>

#include "broker/cli/cli.h"
#include "broker/cli/completion.h"

namespace lull::cli {
namespace {

// Text for roff: nothing in it is a request or an escape.
std::string plain(const std::string& text) {
  std::string all;
  bool first = true;  // of a line
  for (const char c : text) {
    if (first && (c == '.' || c == '\'')) all += "\\&";
    if (c == '\\')
      all += "\\e";
    else if (c == '-')
      all += "\\-";
    else
      all += c;
    first = c == '\n';
  }
  return all;
}

std::string paragraphs(const std::string& text) {
  std::string all;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    all += ".PP\n" + plain(text.substr(at, end - at)) + "\n";
    at = end + 1;
  }
  return all;
}

std::string synopsis(const Described& command) {
  std::string all = fmt::format(".B lull {}\n", plain(command.name));
  for (const auto& p : command.parameters) {
    if (!p.operand)
      all += p.takes == Takes::nothing
                 ? fmt::format(".RB [ {} ]\n", plain(p.name))
                 : fmt::format(".RB [ {} \" \\fI{}\\fP]\"\n", plain(p.name), placeholder(p.takes));
    else
      all += p.required ? fmt::format(".I {}\n", plain(p.name)) : fmt::format(".RI [ {} ]\n", plain(p.name));
  }
  return all;
}

std::string parameter(const Parameter& p) {
  auto all = fmt::format(".TP\n{} {}\n{}", p.operand ? ".I" : ".BR",
                         p.takes == Takes::nothing || p.operand
                             ? plain(p.name)
                             : fmt::format("{} \" \\fI{}\\fP\"", plain(p.name), placeholder(p.takes)),
                         plain(p.help));
  if (!p.initial.empty()) all += fmt::format(" (without it: {})", plain(p.initial));
  return all + "\n";
}

std::string section(const Described& command) {
  auto all = fmt::format(".SS lull {}\n{}.PP\n{}.\n", plain(command.name), synopsis(command), plain(command.help));
  all += paragraphs(command.paragraphs);
  for (const auto& p : command.parameters) all += parameter(p);
  return all;
}

constexpr const char* head = R"(.TH LULL 1 "" "Lull {}" "User commands"
.SH NAME
lull \- runs programs under Lull and shows what it does
.SH SYNOPSIS
.B lull
.RB [ \-\-runtime\-dir " \fIDIR\fP]"
.I command
.RI [ arguments ]
.SH DESCRIPTION
Lull lets one GPU serve rare requests and run long training in the lulls between them.
.B lulld
decides who has the card;
.B lull
puts programs under it, shows who has the card and why, and says what is wrong. Anybody may put a training program under
Lull; its control socket is for root and the group
.BR lull .
.TP
.BR \-\-runtime\-dir " \fIDIR\fP"
the directory of the broker (/run/lull)
.TP
.B \-\-version
the version
.TP
.B \-\-help
the commands, or what one of them takes
.SH COMMANDS
)";

constexpr const char* tail = R"(.SH ENVIRONMENT
.TP
.B LULL_RUNTIME_DIR
as \-\-runtime\-dir
.TP
.B LULL_LIBRARY
the library that
.B lull run
puts into programs
.TP
.B NO_COLOR
if it is set and not empty, there are no colours
.TP
.B COLUMNS
the width of what
.B lull top \-\-once
prints
.SH SEE ALSO
.BR lulld (8),
.BR lull.toml (5)
)";

}  // namespace

std::string manual(const std::vector<Described>& commands) {
  auto all = fmt::format(fmt::runtime(head), LULL_VERSION);
  for (const auto& command : commands) all += section(command);
  all += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : exit_meanings)
    all += fmt::format(".TP\n.B {}\n{}\n", static_cast<int>(code), plain(meaning));
  return all + tail;
}

}  // namespace lull::cli
