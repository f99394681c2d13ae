#include "shim/log.h"

#include <unistd.h>
#include <cstdarg>
#include <cstdio>

#include "shim/environment.h"

namespace lull::log {

bool wanted() { return environment().log; }

// One write, so that lines of several threads do not mix; no stdio, whose locks the host may hold.
void line(const char* format, ...) {
  if (!wanted()) return;
  char text[512];
  const int head = std::snprintf(text, sizeof text, "lull[%d]: ", ::getpid());
  std::va_list arguments;
  va_start(arguments, format);
  int size = head + std::vsnprintf(text + head, sizeof text - head - 1, format, arguments);
  va_end(arguments);
  if (size > static_cast<int>(sizeof text) - 2) size = static_cast<int>(sizeof text) - 2;
  text[size++] = '\n';
  (void)!::write(STDERR_FILENO, text, static_cast<std::size_t>(size));  // nobody to tell if that fails
}

}  // namespace lull::log
