// broker/cli/screen.h: a terminal as a page that is drawn again and again, and its keys. However the program ends, the
// terminal is as it was before: the destructor does it, or, at a signal that ends it, its handler.
#pragma once
#include <string>
#include <vector>

#include "broker/cli/top_render.h"
#include "protocol/fd.h"

namespace lull::cli {

class Screen {
 public:
  enum class Event { time, quit, up, down, page_up, page_down, top, resized };

  explicit Screen(bool colours);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  bool works() const { return entered_; }  // standard input and output are one terminal

  unsigned columns() const;
  unsigned rows() const;
  void draw(const std::vector<Line>&);
  Event wait(int ms);  // Event::time when nothing has happened for so long

 private:
  void enter();
  void leave();
  Event signalled();
  Event pressed();

  Fd signals_;
  std::string drawn_;
  bool colours_, entered_ = false;
};

bool wants_colours();  // a terminal that has them, and NO_COLOR is not set
bool speaks_utf8();

}  // namespace lull::cli
