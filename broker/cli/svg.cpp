#include "broker/cli/svg.h"

#include <fmt/format.h>

#include <algorithm>

namespace lull::cli {

std::string xml(const std::string& words) {
  std::string out;
  for (const char c : words) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out;
}

double width_of(const std::string& words, double size) {
  const auto letters = std::count_if(words.begin(), words.end(), [](char c) { return (c & 0xc0) != 0x80; });
  return static_cast<double>(letters) * size * 0.56;
}

void Svg::rect(double x, double y, double width, double height, const std::string& fill, const std::string& more) {
  body_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"{}\" {}/>\n", x, y,
                       std::max(width, 0.0), std::max(height, 0.0), fill, more);
}

void Svg::line(double x1, double y1, double x2, double y2, const std::string& colour, const std::string& more) {
  body_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" {}/>\n", x1, y1, x2,
                       y2, colour, more);
}

void Svg::text(double x, double y, const std::string& words, double size, const std::string& colour, Anchor anchor,
               const std::string& more) {
  constexpr const char* anchors[] = {"start", "middle", "end"};
  body_ +=
      fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:g}\" fill=\"{}\" text-anchor=\"{}\" {}>{}</text>\n", x,
                  y, size, colour, anchors[static_cast<int>(anchor)], more, xml(words));
}

void Svg::area(const std::vector<std::pair<double, double>>& outline, const std::string& fill) {
  std::string path;
  for (const auto& [x, y] : outline) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x, y);
  body_ += fmt::format("<path d=\"{}Z\" fill=\"{}\"/>\n", path, fill);
}

void Svg::hatch(const std::string& name, const std::string& colour, bool falling) {
  definitions_ += fmt::format(
      "<pattern id=\"{}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate({})\">"
      "<rect width=\"6\" height=\"6\" fill=\"{}\" fill-opacity=\"0.25\"/>"
      "<line x1=\"0\" y1=\"3\" x2=\"6\" y2=\"3\" stroke=\"{}\" stroke-width=\"2.2\"/></pattern>\n",
      name, falling ? 45 : -45, colour, colour);
}

std::string Svg::finish(double height, const std::string& title) const {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\" "
      "role=\"img\">\n"
      "<title>{2}</title>\n<defs>\n{3}</defs>\n"
      "<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#ffffff\"/>\n{4}</svg>\n",
      width_, height, xml(title), definitions_, body_);
}

}  // namespace lull::cli
