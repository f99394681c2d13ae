// broker/cli/top.cpp: lull top: who has which card, live.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>

#include "broker/cli/commands.h"
#include "broker/cli/container_names.h"
#include "broker/cli/screen.h"
#include "broker/cli/top_render.h"
#include "broker/units.h"

namespace lull::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t most_switches = 50;

struct TopOptions {
  std::string every = "500ms";
  bool once = false, json = false, ascii = false;
};

// The broker's answers, over two connections that stay: one is asked, the other tells of switches.
class Source {
 public:
  explicit Source(std::string runtime_dir) : runtime_dir_(std::move(runtime_dir)) {}

  // False: it does not answer; `problem` says why, and the next call tries again.
  bool look(std::string& problem) {
    if (!asking_ && !connect(problem)) return false;
    std::string line;
    if (asking_.send("{\"cmd\":\"status\"}") && asking_.receive(line)) {
      auto answer = json::parse(line, nullptr, false);
      if (answer.is_object()) status_ = std::move(answer);
      listen();
      return true;
    }
    asking_ = {}, telling_ = {};
    problem = "lulld has hung up or does not answer; trying again";
    return false;
  }
  TopView view() {
    const auto build = [this] {
      return view_of(status_, switches_, [this](const auto& name) { return names_(name); });
    };
    auto view = build();
    return names_.learn(Clock::now()) ? build() : view;
  }

 private:
  bool connect(std::string& problem) {
    asking_ = Connection::try_open(runtime_dir_, problem);
    if (!asking_) return false;
    asking_.give_up_after(std::chrono::seconds(2));
    std::string why_not;
    telling_ = Connection::try_open(runtime_dir_, why_not);
    switches_.clear();  // it tells all that it remembers
    if (telling_ && !telling_.send("{\"cmd\":\"events\",\"follow\":true}")) telling_ = {};
    // What the broker remembers is sent at once, but not necessarily before its answer to the first question.
    if (telling_) telling_.wait_for_text(std::chrono::milliseconds(200));
    return true;
  }
  void listen() {
    for (std::string line; telling_ && telling_.receive_ready(line);) {
      if (line.find("\"switch\"") == std::string::npos) continue;  // parsing is what costs
      auto event = json::parse(line, nullptr, false);
      if (!event.is_object() || text(event, "event") != "switch") continue;
      switches_.push_back(std::move(event));
      if (switches_.size() > most_switches) switches_.pop_front();
    }
  }

  std::string runtime_dir_;
  Connection asking_, telling_;
  json status_ = json::object();
  std::deque<json> switches_;
  ContainerNames names_;
};

unsigned columns_without_terminal() {
  const char* said = std::getenv("COLUMNS");
  const int columns = said ? std::atoi(said) : 0;
  return columns > 0 ? static_cast<unsigned>(std::min(columns, 1000)) : 100;
}

int once(Source& source, const TopOptions& options) {
  std::string problem;
  if (!source.look(problem)) return complain(no_broker, problem);
  const auto view = source.view();
  if (options.json) {
    fmt::print("{}\n", one_line(json_of(view)));
    return ok;
  }
  for (const auto& line : render(view, {.columns = columns_without_terminal(), .ascii = options.ascii, .keys = false}))
    fmt::print("{}\n", plain_text(line));
  return ok;
}

unsigned most_tenants(const TopView& view) {
  std::size_t most = 0;
  for (const auto& gpu : view.gpus) most = std::max(most, gpu.tenants.size());
  return static_cast<unsigned>(most);
}

void scroll(unsigned& scrolled, Screen::Event event, unsigned most) {
  constexpr unsigned page = 10;
  switch (event) {
    case Screen::Event::up: scrolled -= std::min(scrolled, 1u); break;
    case Screen::Event::page_up: scrolled -= std::min(scrolled, page); break;
    case Screen::Event::down: scrolled += 1; break;
    case Screen::Event::page_down: scrolled += page; break;
    case Screen::Event::top: scrolled = 0; break;
    default: break;
  }
  scrolled = std::min(scrolled, most > 0 ? most - 1 : 0);
}

int live(Source& source, const TopOptions& options, policy::Time every) {
  const bool colours = wants_colours();
  Screen screen(colours);
  if (!screen.works())
    return complain(usage, "lull top needs a terminal; `lull top --once` prints one page, --json one object");
  Paper paper{.ascii = options.ascii, .colours = colours};
  TopView view;
  auto next = Clock::now();
  for (;;) {
    if (Clock::now() >= next) {
      std::string problem;
      if (source.look(problem)) view = source.view();
      view.problem = problem;
      next = std::max(next + std::chrono::nanoseconds(every), Clock::now());
    }
    paper.columns = screen.columns();
    paper.rows = screen.rows();
    screen.draw(render(view, paper));
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
    const auto event = screen.wait(static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000)));
    if (event == Screen::Event::quit) return ok;
    scroll(paper.scrolled, event, most_tenants(view));
  }
}

int top(const Context& context, TopOptions options) {
  const auto every = parse_time(options.every);
  if (!every || *every < 50 * policy::ms || *every > 60 * policy::second)
    return complain(usage, fmt::format("--every {}: a time from 50ms to 60s is wanted", options.every));
  options.ascii = options.ascii || !speaks_utf8();
  Source source(context.runtime_dir);
  return options.once || options.json ? once(source, options) : live(source, options, *every);
}

}  // namespace

Action set_up_top(Arguments& arguments, const Context& context) {
  auto options = std::make_shared<TopOptions>();
  arguments.option("--every", Takes::time, options->every, "how often to look");
  arguments.flag("--once", options->once, "print one page and end; its width is COLUMNS, or 100");
  arguments.flag("--json", options->json, "print one JSON object and end");
  arguments.flag("--ascii", options->ascii, "no characters but ASCII; chosen by itself where the locale has no UTF-8");
  arguments.about(
      "A bar is a card's memory, by tenant; \"others\" is what programs without Lull hold, \"reserve\" what Lull keeps "
      "free for contexts. \"away\" is memory of paused programs, in host memory. A tenant that is a container has the "
      "name "
      "docker or podman gives it, if you may ask them. REQ: requests in flight. PAUSED: the share of its time.\n"
      "Recovered is the time for which training could run while a service was there that would otherwise have had the "
      "card to itself.\n"
      "Keys: q ends; arrows, j, k, space and b scroll; g goes to the top. NO_COLOR: no colours.");
  return [options, &context] { return top(context, *options); };
}

}  // namespace lull::cli
