#include "broker/cli/screen.h"

#include <fmt/format.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace lull::cli {
namespace {

constexpr char enter_text[] = "\x1b[?1049h\x1b[?25l", leave_text[] = "\x1b[?25h\x1b[?1049l";
constexpr int deaths[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

termios before{};  // of the terminal; read by the handler below

void restore() {
  (void)!::write(STDOUT_FILENO, leave_text, sizeof leave_text - 1);
  (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
}

// Only what may be called in a handler. The signal's own action, which SA_RESETHAND has brought back, ends the process.
void die(int number) {
  restore();
  (void)::raise(number);
}

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT}) sigaddset(&set, number);
  return set;
}

void write_all(std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

winsize size_now() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    size.ws_col = 80, size.ws_row = 24;
  return size;
}

// The colours of the terminal's own sixteen, so that its theme decides what they look like.
std::string style(const Span& span) {
  constexpr int tenants[tenant_tints] = {36, 33, 32, 35, 94, 91};
  const auto tint = static_cast<unsigned>(span.tint), first = static_cast<unsigned>(Tint::first_tenant);
  if (tint >= first) {
    const int colour = tenants[(tint - first) % tenant_tints];
    return span.filled ? fmt::format("\x1b[30;{}m", colour + 10) : fmt::format("\x1b[{}m", colour);
  }
  switch (span.tint) {
    case Tint::dim: return span.filled ? "\x1b[30;100m" : "\x1b[2m";
    case Tint::strong: return "\x1b[1m";
    case Tint::good: return "\x1b[32m";
    case Tint::bad: return "\x1b[1;31m";
    case Tint::foreign: return span.filled ? "\x1b[30;47m" : "\x1b[37m";
    case Tint::free: return "\x1b[2m";
    default: return "";
  }
}

Screen::Event key(std::string_view typed) {
  using Event = Screen::Event;
  constexpr struct {
    std::string_view typed;
    Event event;
  } keys[] = {{"q", Event::quit},          {"Q", Event::quit},      {"\x03", Event::quit},
              {"\x1b[A", Event::up},       {"\x1bOA", Event::up},   {"k", Event::up},
              {"\x1b[B", Event::down},     {"\x1bOB", Event::down}, {"j", Event::down},
              {"\x1b[5~", Event::page_up}, {"b", Event::page_up},   {"\x1b[6~", Event::page_down},
              {" ", Event::page_down},     {"g", Event::top},       {"\x1b[H", Event::top},
              {"\x1b[1~", Event::top}};
  for (const auto& known : keys)
    if (typed == known.typed) return known.event;
  return Event::resized;  // an unknown key: no more than a reason to draw
}

}  // namespace

bool wants_colours() {
  const char *none = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return !(none && *none) && terminal && *terminal && std::string_view(terminal) != "dumb" && ::isatty(STDOUT_FILENO);
}

bool speaks_utf8() {
  (void)::setlocale(LC_CTYPE, "");
  return std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
}

Screen::Screen(bool colours) : colours_(colours) {
  if (!::isatty(STDOUT_FILENO) || ::tcgetattr(STDIN_FILENO, &before) != 0) return;
  const auto set = watched();
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return;
  signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return;
  struct sigaction action {};
  action.sa_handler = die;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int number : deaths) (void)::sigaction(number, &action, nullptr);
  enter();
}

Screen::~Screen() {
  if (!entered_) return;
  leave();
  for (const int number : deaths) (void)::signal(number, SIG_DFL);
}

void Screen::enter() {
  termios raw = before;
  raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);  // Ctrl-C and Ctrl-Z remain signals
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
  write_all(enter_text);
  drawn_.clear();
  entered_ = true;
}

void Screen::leave() {
  restore();
  entered_ = false;
}

unsigned Screen::columns() const { return size_now().ws_col; }
unsigned Screen::rows() const { return size_now().ws_row; }

void Screen::draw(const std::vector<Line>& lines) {
  std::string page = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (const auto& span : lines[i]) {
      const auto look = colours_ ? style(span) : std::string();
      page += look + span.text + (look.empty() ? "" : "\x1b[0m");
    }
    page += i + 1 < lines.size() ? "\x1b[K\r\n" : "\x1b[K\x1b[J";
  }
  if (page == drawn_) return;
  write_all(page);
  drawn_ = std::move(page);
}

Screen::Event Screen::signalled() {
  signalfd_siginfo info{};
  if (::read(signals_.get(), &info, sizeof info) != sizeof info) return Event::time;
  if (info.ssi_signo == SIGTSTP) {
    leave();
    (void)::raise(SIGSTOP);
    enter();
    return Event::resized;
  }
  if (info.ssi_signo != SIGWINCH && info.ssi_signo != SIGCONT) return Event::quit;
  drawn_.clear();
  return Event::resized;
}

Screen::Event Screen::pressed() {
  char typed[32];
  const auto got = ::read(STDIN_FILENO, typed, sizeof typed);
  if (got <= 0) return Event::quit;  // the terminal has gone
  return key({typed, static_cast<std::size_t>(got)});
}

Screen::Event Screen::wait(int ms) {
  pollfd ready[] = {{signals_.get(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  if (::poll(ready, 2, ms) <= 0) return Event::time;
  return ready[0].revents ? signalled() : pressed();
}

}  // namespace lull::cli
