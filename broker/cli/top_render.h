// broker/cli/top_render.h: lull top as lines of a given width: a pure function, so that it can be tested and looked at
// without a terminal.
#pragma once
#include <string>
#include <vector>

#include "broker/cli/top_view.h"

namespace lull::cli {

// What a stretch of text means; a terminal makes colours of it.
enum class Tint : unsigned char { plain, dim, strong, good, bad, foreign, free, first_tenant };
inline constexpr unsigned tenant_tints = 6;  // first_tenant and those after it; neighbours in a bar differ

struct Span {
  std::string text;
  Tint tint = Tint::plain;
  bool filled = false;  // a stretch of a bar: its background has the colour
};
using Line = std::vector<Span>;

struct Paper {
  unsigned columns = 80, rows = 0;  // rows 0: as many as it takes
  unsigned scrolled = 0;            // tenants above the first that is shown
  bool ascii = false;               // no other characters
  bool colours = false;             // of bars: no fillings are needed
  bool keys = true;                 // the line that names them
};

// No line is wider than the paper, and there are no more of them than it has rows.
std::vector<Line> render(const TopView&, const Paper&);

std::string short_line(const TopView&);  // for a prompt or a status line: who has each card

unsigned columns_of(const std::string& utf8);
std::string plain_text(const Line&);  // without trailing spaces

// Shared by its parts.
std::string cut(const std::string& utf8, unsigned columns, bool ascii);  // with an ellipsis where something is lost
std::string size(std::uint64_t bytes);                                   // "15.1G", "300M"
std::string duration(std::uint64_t ns);                                  // "0.4s", "12s", "3h04m", "2d05h"

struct Share {
  std::string label;
  std::uint64_t bytes;
  Tint tint;
  char fill;  // where there are no colours
};
// All of them side by side, each as wide as its share of the whole and labelled as far as there is room. Shares too
// small to see are drawn as one cell each while there is room, then not at all.
Line bar(const std::vector<Share>&, std::uint64_t whole, unsigned columns, bool ascii);

}  // namespace lull::cli
