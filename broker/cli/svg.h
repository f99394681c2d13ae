// broker/cli/svg.h: the few shapes that a picture is made of.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace lull::cli {

enum class Anchor { start, middle, end };

class Svg {
 public:
  explicit Svg(double width) : width_(width) {}

  void rect(double x, double y, double width, double height, const std::string& fill, const std::string& more = "");
  void line(double x1, double y1, double x2, double y2, const std::string& colour, const std::string& more = "");
  void text(double x, double y, const std::string& words, double size, const std::string& colour,
            Anchor = Anchor::start, const std::string& more = "");
  void area(const std::vector<std::pair<double, double>>& outline, const std::string& fill);
  void hatch(const std::string& name, const std::string& colour, bool falling);  // fill: "url(#name)"
  std::string finish(double height, const std::string& title) const;

 private:
  double width_;
  std::string definitions_, body_;
};

std::string xml(const std::string& words);               // for text and attributes; what XML cannot hold becomes '?'
double width_of(const std::string& words, double size);  // about, in an ordinary sans-serif

}  // namespace lull::cli
