#include "broker/cli/top_render.h"

#include <fmt/format.h>

#include <algorithm>

namespace lull::cli {
namespace {

Tint tint_of(std::size_t tenant) {
  return static_cast<Tint>(static_cast<unsigned>(Tint::first_tenant) + static_cast<unsigned>(tenant % tenant_tints));
}

class Page {
 public:
  explicit Page(const Paper& paper) : paper_(paper) {}

  void line(Line line) {
    unsigned left = paper_.columns;
    for (auto& span : line) {
      span.text = cut(span.text, left, paper_.ascii);
      left -= columns_of(span.text);
    }
    lines.push_back(std::move(line));
  }
  const char* dot() const { return paper_.ascii ? "," : " ·"; }
  const char* arrow() const { return paper_.ascii ? "->" : "→"; }
  char fill(char where_plain) const { return paper_.colours ? ' ' : where_plain; }
  bool wide() const { return paper_.columns >= 110; }
  const Paper& paper() const { return paper_; }

  std::vector<Line> lines;

 private:
  const Paper& paper_;
};

// ---- the first line

void head(Page& page, const TopView& view) {
  std::uint64_t recovered = 0;
  for (const auto& gpu : view.gpus) recovered += gpu.recovered_ns;
  Line line = {{"lull " + view.version, Tint::strong}, {"  up " + duration(view.uptime_ns)}};
  if (recovered != 0) line.push_back({"   training recovered " + duration(recovered), Tint::good});
  if (view.pressure != "-" && view.pressure != "none" && view.pressure != "ample")
    line.push_back({"   host memory " + view.pressure, Tint::bad});
  page.line(std::move(line));
  if (!view.problem.empty()) page.line({{view.problem, Tint::bad}});
}

// ---- a card

void lease(Page& page, const TopGpu& gpu) {
  Line line = {{fmt::format("gpu {} ", gpu.number), Tint::strong}};
  if (!gpu.lease) {
    line.push_back({"nobody has the card", Tint::dim});
  } else {
    line.push_back({gpu.lease->name, Tint::strong});
    line.push_back({" since " + duration(gpu.lease->since_ns)});
    if (gpu.lease->left_ns) line.push_back({fmt::format("{} {} left", page.dot(), duration(*gpu.lease->left_ns))});
  }
  if (gpu.requests != 0)
    line.push_back({fmt::format("{} {} request{} in flight", page.dot(), gpu.requests, gpu.requests == 1 ? "" : "s"),
                    Tint::strong});
  line.push_back({fmt::format("{} {} preemptions", page.dot(), gpu.preemptions), Tint::dim});
  if (gpu.thrashing) line.push_back({fmt::format("{} thrashing", page.dot()), Tint::bad});
  if (page.wide() && gpu.lease) line.push_back({fmt::format("{} {}", page.dot(), gpu.lease->why), Tint::dim});
  page.line(std::move(line));
}

void titled_bar(Page& page, const std::string& title, const std::vector<Share>& shares, std::uint64_t whole,
                const std::string& figures) {
  const unsigned around = 5 + columns_of(figures) + 1;
  if (page.paper().columns < around + 12) return page.line({{title + " " + figures}});
  Line line = {{fmt::format("{:<5}", title), Tint::dim}};
  for (auto& span : bar(shares, whole, page.paper().columns - around, page.paper().ascii))
    line.push_back(std::move(span));
  line.push_back({" " + figures, Tint::dim});
  page.line(std::move(line));
}

std::string labelled(const std::string& name, std::uint64_t bytes) { return name + " " + size(bytes); }

struct BarPart {
  std::size_t tenant;
  std::uint64_t bytes;
};

// Those wide enough for a few letters of their names, in the order of the table; then the rest as one.
std::vector<Share> shares_of(const Page& page, const TopGpu& gpu, std::uint64_t TopTenant::*bytes, std::uint64_t whole,
                             char fill) {
  constexpr unsigned readable = 8;
  std::vector<BarPart> shown, small;
  std::uint64_t rest = 0;
  for (std::size_t i = 0; i < gpu.tenants.size(); ++i) {
    const auto n = gpu.tenants[i].*bytes;
    if (n == 0) continue;
    const bool is_small = static_cast<double>(n) * page.paper().columns < static_cast<double>(whole) * readable;
    (is_small ? small : shown).push_back({i, n});
    if (is_small) rest += n;
  }
  std::vector<Share> shares;
  const auto add = [&](const BarPart& part) {
    shares.push_back(
        {labelled(gpu.tenants[part.tenant].name, part.bytes), part.bytes, tint_of(part.tenant), page.fill(fill)});
  };
  std::for_each(shown.begin(), shown.end(), add);
  if (small.size() == 1) add(small.front());
  if (small.size() > 1)
    shares.push_back({labelled(fmt::format("{} {}", small.size(), shown.empty() ? "tenants" : "more"), rest), rest,
                      tint_of(small.front().tenant), page.fill(fill)});
  return shares;
}

std::uint64_t sum_of(const std::vector<Share>& shares) {
  std::uint64_t sum = 0;
  for (const auto& share : shares) sum += share.bytes;
  return sum;
}

void card_bar(Page& page, const TopGpu& gpu) {
  auto shares = shares_of(page, gpu, &TopTenant::on_card, gpu.memory, '=');
  if (gpu.foreign != 0) shares.push_back({labelled("others", gpu.foreign), gpu.foreign, Tint::foreign, page.fill('x')});
  const auto used = sum_of(shares);
  const auto rest = gpu.memory - std::min(gpu.memory, used + gpu.free);
  if (rest != 0) shares.push_back({labelled("reserve", rest), rest, Tint::dim, ' '});
  if (gpu.free != 0) shares.push_back({labelled("free", gpu.free), gpu.free, Tint::free, page.fill('.')});
  titled_bar(page, "card", shares, gpu.memory, fmt::format("{}/{}", size(used), size(gpu.memory)));
}

void host_bar(Page& page, const TopView& view, const TopGpu& gpu) {
  std::uint64_t evicted = 0;
  for (const auto& t : gpu.tenants) evicted += t.evicted;
  if (evicted == 0) return;
  const auto whole = std::max(view.host_budget, evicted);
  titled_bar(page, "away", shares_of(page, gpu, &TopTenant::evicted, whole, '-'), whole,
             fmt::format("{}/{} of host memory", size(evicted), size(view.host_budget)));
}

// ---- its tenants

std::string paused_share(const TopTenant& t) {
  if (t.connected_ns == 0) return "-";
  return fmt::format("{:.0f}%", 100.0 * static_cast<double>(t.paused_ns) / static_cast<double>(t.connected_ns));
}

Tint tint_of_state(const TopTenant& t) {
  if (t.state == "running") return Tint::good;
  return t.waits || t.state == "restoring" ? Tint::strong : Tint::dim;
}

struct Widths {
  unsigned name, why;
};
constexpr unsigned fixed_columns = 1 + 1 + 12 + 10 + 8 + 8 + 5 + 7 + 1;

Widths widths_of(const Page& page) {
  const unsigned columns = page.paper().columns;
  if (columns < fixed_columns + 12) return {columns > 30 ? columns - 30 : 1, 0};
  const unsigned left = columns - fixed_columns;
  if (left < 45) return {left, 0};
  const unsigned name = std::min(40u, left / 2);
  return {name, left - name};
}

void table_head(Page& page) {
  const auto w = widths_of(page);
  page.line({{fmt::format("  {:<{}} {:<12}{:<10}{:>7} {:>7} {:>4} {:>7}{}", "TENANT", w.name, "CLASS", "STATE",
                          "ON CARD", "AWAY", "REQ", "PAUSED", w.why ? "  WHY" : ""),
              Tint::dim}});
}

void tenant(Page& page, const TopTenant& t, Tint tint) {
  const auto w = widths_of(page);
  const auto& paper = page.paper();
  const char* mark = t.holds ? (paper.ascii ? "*" : "▶") : t.waits ? (paper.ascii ? "?" : "◌") : " ";
  const auto name = t.pids.size() > 1 ? fmt::format("{} x{}", t.name, t.pids.size()) : t.name;
  const auto shown = cut(name, w.name, paper.ascii);
  page.line({{mark, Tint::strong},
             {" "},
             {fmt::format("{:<{}}", shown, w.name), tint},
             {fmt::format(" {:<12}", t.klass)},
             {fmt::format("{:<10}", t.state), tint_of_state(t)},
             {fmt::format("{:>7} {:>7} {:>4} {:>7}", size(t.on_card), size(t.evicted),
                          t.requests ? fmt::format("{}", t.requests) : "-", paused_share(t))},
             {w.why ? "  " + t.why : "", Tint::dim}});
}

// `rows`: for the tenants alone, at least 1. A line is given up to say how many are not shown.
void tenants(Page& page, const TopGpu& gpu, unsigned rows) {
  const auto count = static_cast<unsigned>(gpu.tenants.size());
  if (count == 0)
    return page.line({{"  no programs: start one with `lull run --class training -- COMMAND`", Tint::dim}});
  const unsigned shown = count <= rows ? count : std::max(rows, 2u) - 1;
  const unsigned first = std::min(page.paper().scrolled, count - shown);
  for (unsigned i = first; i < first + shown; ++i) tenant(page, gpu.tenants[i], tint_of(i));
  if (shown < count) page.line({{fmt::format("  {} above, {} below", first, count - first - shown), Tint::dim}});
}

// ---- what has happened

std::string in_ms(std::uint64_t ns) {
  const auto ms = static_cast<double>(ns) / 1e6;
  return ms < 10 ? fmt::format("{:.1f}", ms) : fmt::format("{:.0f}", ms);
}

// On narrow paper only the phases that matter.
std::string steps_of(const Page& page, const TopSwitch& s) {
  std::string steps;
  for (const auto& phase : s.phases)
    if (page.wide() || phase.took_ns >= s.total_ns / 100)
      steps += fmt::format(" {} {}", phase.name, in_ms(phase.took_ns));
  return steps;
}

void change(Page& page, const TopSwitch& s, bool several_cards) {
  const unsigned most = page.wide() ? 30 : 13;
  const auto from = cut(s.from.empty() ? "nobody" : s.from, most, page.paper().ascii);
  const auto names = fmt::format("{} {} {}", from, page.arrow(), cut(s.to, most, page.paper().ascii));
  const auto card = !several_cards ? "" : s.gpu ? fmt::format("gpu {:<2} ", *s.gpu) : "       ";
  page.line({{fmt::format("  {:>6} {}", duration(s.ago_ns), card), Tint::dim},
             {names + std::string(2 * most + 4 - std::min(2 * most + 4, columns_of(names)), ' ')},
             {fmt::format("{:>5}ms", in_ms(s.total_ns)), Tint::strong},
             {" " + steps_of(page, s), Tint::dim},
             {page.wide() ? fmt::format("  {}: out {} in {}", s.reason, size(s.out), size(s.in)) : "", Tint::dim}});
}

void changes(Page& page, const TopView& view, unsigned rows) {
  if (view.switches.empty() || rows < 2) return;
  page.line({{"LAST SWITCHES, how long ago, from whom to whom, and where the time went (ms)", Tint::dim}});
  for (std::size_t i = 0; i < view.switches.size() && i + 1 < rows; ++i)
    change(page, view.switches[i], view.gpus.size() > 1);
}

std::string named(const TopStranger& s) {
  return fmt::format("{} ({}){}", s.name, s.pid, s.bytes ? " " + size(*s.bytes) : "");
}

void strangers(Page& page, const std::vector<TopStranger>& all, const char* what) {
  if (all.empty()) return;
  std::string names;
  for (const auto& s : all) names += (names.empty() ? "" : ", ") + named(s);
  page.line({{what, Tint::foreign}, {names}});
}

// ---- how much of each there is room for

unsigned lines_below(const TopView& view) {
  unsigned all = view.holders.empty() ? 0 : 1;
  for (const auto& gpu : view.gpus) all += gpu.strangers.empty() ? 0 : 1;
  return all;
}

struct Room {
  unsigned tenants, changes;  // rows for the tenants of each card; for the switches with their title
};

Room room_for(const TopView& view, const Paper& paper) {
  constexpr unsigned all = 1000;
  if (paper.rows == 0) return {all, 11};
  const auto cards = std::max<unsigned>(1, static_cast<unsigned>(view.gpus.size()));
  const unsigned above = view.problem.empty() ? 1 : 2;
  const unsigned fixed =
      above + 5 * cards + lines_below(view) + (paper.keys ? 1 : 0);  // with the spare line of each card
  if (paper.rows <= fixed + 2 * cards) return {1, 0};
  const unsigned left = paper.rows - fixed;
  unsigned wanted = 0;
  for (const auto& gpu : view.gpus) wanted = std::max(wanted, static_cast<unsigned>(gpu.tenants.size()));
  const auto changes = std::min<unsigned>(static_cast<unsigned>(view.switches.size()) + 1, left > 8 ? left / 3 : 0);
  const unsigned tenants = (left - changes) / cards;
  if (tenants <= wanted) return {std::max(tenants, 1u), changes};
  return {std::max(wanted, 1u), left - std::max(wanted, 1u) * cards};
}

void foot(Page& page) {
  const auto& paper = page.paper();
  if (!paper.keys) return;
  if (paper.rows != 0)
    while (page.lines.size() + 1 < paper.rows) page.line({});
  page.line({{paper.ascii ? "q quit   j k  space  scroll" : "q quit   ↑ ↓ space scroll", Tint::dim}});
}

}  // namespace

static bool is_paused(const std::string& state) {
  for (const char* paused : {"paused", "evicted", "halted", "releasing", "released"})
    if (state == paused) return true;
  return false;
}

std::string short_line(const TopView& view) {
  std::string all;
  for (const auto& gpu : view.gpus) {
    std::size_t paused = 0;
    for (const auto& t : gpu.tenants) paused += is_paused(t.state) ? 1 : 0;
    if (!all.empty()) all += "  ";
    if (view.gpus.size() > 1) all += fmt::format("gpu{} ", gpu.number);
    all += fmt::format("{} {}/{}", gpu.lease ? gpu.lease->name : "idle",
                       size(gpu.memory - std::min(gpu.memory, gpu.free)), size(gpu.memory));
    if (gpu.requests != 0) all += fmt::format(" {}req", gpu.requests);
    if (paused != 0) all += fmt::format(" {}paused", paused);
  }
  return all;
}

std::vector<Line> render(const TopView& view, const Paper& paper) {
  Page page(paper);
  const auto room = room_for(view, paper);
  head(page, view);
  for (const auto& gpu : view.gpus) {
    lease(page, gpu);
    card_bar(page, gpu);
    host_bar(page, view, gpu);
    table_head(page);
    tenants(page, gpu, room.tenants);
    strangers(page, gpu.strangers, "  not managed  ");
  }
  strangers(page, view.holders, "without the library  ");
  changes(page, view, room.changes);
  if (paper.rows != 0) page.lines.resize(std::min<std::size_t>(page.lines.size(), paper.rows - (paper.keys ? 1 : 0)));
  foot(page);
  return std::move(page.lines);
}

}  // namespace lull::cli
