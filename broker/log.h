// broker/log.h: one line an event on stderr, as the journal likes it: "<6>connect client=3 pid=4242".
// Log or return, never both: leaf code returns its errors; main, broker and their helpers log them.
#pragma once
#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace lull::log {

enum class Level { error = 3, warning = 4, notice = 5, info = 6 };
void write(Level, std::string_view line);  // from the event thread alone; control characters become '?'

template <class... A>
void error(fmt::format_string<A...> f, A&&... a) {
  write(Level::error, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void warning(fmt::format_string<A...> f, A&&... a) {
  write(Level::warning, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void notice(fmt::format_string<A...> f, A&&... a) {
  write(Level::notice, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void info(fmt::format_string<A...> f, A&&... a) {
  write(Level::info, fmt::format(f, std::forward<A>(a)...));
}

}  // namespace lull::log
