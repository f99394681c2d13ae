#include "broker/cli/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "broker/cli/show.h"
#include "broker/cli/svg.h"

namespace lull::cli {
namespace {

constexpr double width = 960, left = 150, right = 24, plot = width - left - right;
constexpr double lane = 34, bar = 22, memory_height = 170;
constexpr const char *ink = "#1f2933", *soft = "#64748b", *faint = "#e2e8f0";

// Of a class, one after the other.
constexpr std::array<const char*, 3> training = {"#2f6db5", "#5aa0dd", "#1e4e86"};
constexpr std::array<const char*, 3> inference = {"#e0752d", "#f0a35e", "#b4551a"};
constexpr std::array<const char*, 3> interactive = {"#3f9b6d", "#7cc29d", "#2a6f4d"};
constexpr std::array<const char*, 1> others = {"#94a3b8"};

std::string duration(Nanoseconds ns) {
  const double ms = static_cast<double>(ns) / 1e6;
  if (ms >= 10'000) return fmt::format("{:.1f} s", ms / 1e3);
  if (ms >= 1000) return fmt::format("{:.2f} s", ms / 1e3);
  if (ms >= 1) return ms >= 10 ? fmt::format("{:.0f} ms", ms) : fmt::format("{:.1f} ms", ms);
  return fmt::format("{:.0f} µs", ms * 1e3);
}

std::string size_of(std::uint64_t n) {
  const double mib = static_cast<double>(n) / (1 << 20);
  return mib >= 1024 ? fmt::format("{:.3g} GiB", mib / 1024) : fmt::format("{:.0f} MiB", mib);
}

std::string name_of(const Actor* actor) { return actor ? actor->tenant : "somebody"; }

// A round number, so that about six of them fill the span.
double step_for(double span) {
  const double rough = span / 6, power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double m : {1.0, 2.0, 5.0})
    if (rough <= m * power) return m * power;
  return 10 * power;
}

class Painter {
 public:
  Painter(const CardStory& card, const Window& window) : card_(card), window_(window), svg_(width) {
    for (const auto& actor : card.actors)
      if (is_seen(actor)) actors_.push_back(&actor);
    std::map<std::string, std::size_t> used;
    for (const auto* actor : actors_) colours_[actor] = colour(*actor, used[actor->klass]++);
  }

  std::string paint() {
    const auto title = headline();
    svg_.text(left, y_ += 30, title, 17, ink, Anchor::start, "font-weight=\"600\"");
    svg_.text(left, y_ += 20, subtitle(), 12.5, soft);
    y_ += 34;
    const double top = y_;
    lanes();
    if (window_.about) phases();
    memory();
    axis();
    marks(top);
    legend();
    return svg_.finish(y_ + 14, title);
  }

 private:
  bool is_seen(const Actor& actor) const {
    return std::any_of(actor.doings.begin(), actor.doings.end(),
                       [this](const Stretch& s) { return s.from < window_.to && s.to > window_.from; });
  }

  std::string colour(const Actor& actor, std::size_t nth) {
    const auto of = [nth](const auto& list) { return std::string(list[nth % list.size()]); };
    if (actor.klass == "inference") return of(inference);
    if (actor.klass == "interactive") return of(interactive);
    return actor.klass == "training" ? of(training) : of(others);
  }

  double x(Nanoseconds t) const {
    const auto at = std::clamp(t, window_.from, window_.to) - window_.from;
    return left +
           plot * static_cast<double>(at) / static_cast<double>(std::max<Nanoseconds>(window_.to - window_.from, 1));
  }

  // ---- words

  std::string headline() const {
    if (!window_.about) return fmt::format("GPU {} ({}): who had the card", card_.number, size_of(card_.memory));
    std::string from;
    for (const auto id : window_.about->from)
      if (const auto* actor = card_.actor(id)) from += (from.empty() ? "" : ", ") + actor->tenant;
    return fmt::format("{} {} the card{}{}", name_of(card_.actor(window_.about->to)),
                       window_.about->preemption ? "takes" : "is given", from.empty() ? "" : " from ", from);
  }

  std::string subtitle() const {
    if (!window_.about) return summary();
    const auto& s = *window_.about;
    auto words = fmt::format("first kernel {} after the request's first packet; {} out, {} in",
                             duration(s.first_kernel - s.seen), size_of(s.evicted_bytes), size_of(s.restored_bytes));
    for (const auto id : s.from)
      if (const auto away = time_away(id))
        words += fmt::format("; {} goes on after {}", name_of(card_.actor(id)), duration(away));
    return words;
  }

  // From the request until this client runs again; 0: not known.
  Nanoseconds time_away(std::uint64_t client) const {
    const auto* actor = card_.actor(client);
    if (!actor) return 0;
    for (const auto& d : actor->doings)
      if (d.doing == "running" && d.from > window_.about->first_kernel) return d.from - window_.about->seen;
    return 0;
  }

  std::string summary() const {
    std::vector<Nanoseconds> waits;
    for (const auto& s : card_.switches)
      if (s.preemption && s.first_kernel >= s.seen && s.seen >= window_.from && s.seen < window_.to)
        waits.push_back(s.first_kernel - s.seen);
    auto words = fmt::format("{}, {} preemption{}", duration(window_.to - window_.from), waits.size(),
                             waits.size() == 1 ? "" : "s");
    if (waits.empty()) return words;
    std::nth_element(waits.begin(), waits.begin() + static_cast<std::ptrdiff_t>(waits.size() / 2), waits.end());
    return words + fmt::format("; from a request's first packet to its first kernel: {} (median)",
                               duration(waits[waits.size() / 2]));
  }

  // ---- lanes

  std::string fill(const Actor* actor, const std::string& doing) {
    const auto& base = colours_[actor];
    if (doing == "running" || doing == "unmanaged") return base;
    if (doing != "evicting" && doing != "restoring" && doing != "draining") return "";
    const auto name = fmt::format("{}-{}", doing == "restoring" ? "in" : "out", base.substr(1));
    if (std::find(hatches_.begin(), hatches_.end(), name) == hatches_.end()) {
      hatches_.push_back(name);
      svg_.hatch(name, base, doing != "restoring");
    }
    return fmt::format("url(#{})", name);
  }

  void lanes() {
    for (const auto* actor : actors_) {
      svg_.text(left - 12, y_ + bar / 2 + 1, shortened(actor->tenant, 132, 13), 13, ink, Anchor::end,
                "font-weight=\"600\"");
      if (!actor->klass.empty()) svg_.text(left - 12, y_ + bar / 2 + 13, actor->klass, 10, soft, Anchor::end);
      for (const auto& d : actor->doings)
        if (d.from < window_.to && d.to > window_.from) stretch(actor, d);
      y_ += lane;
    }
    y_ += 4;
  }

  void stretch(const Actor* actor, const Stretch& d) {
    const double from = x(d.from), to = x(d.to);
    const auto paint = fill(actor, d.doing);
    if (paint.empty())
      svg_.line(from, y_ + bar / 2, to, y_ + bar / 2, "#b6c2cf", "stroke-width=\"2\" stroke-dasharray=\"2 4\"");
    else
      svg_.rect(from, y_, to - from, bar, paint);
    const bool solid = paint.rfind('#', 0) == 0;
    if (to - from > width_of(d.doing, 11) + 16) {
      if (!solid)
        svg_.rect((from + to) / 2 - width_of(d.doing, 11) / 2 - 5, y_ + 3, width_of(d.doing, 11) + 10, bar - 6,
                  "#ffffff", "rx=\"3\" fill-opacity=\"0.88\"");
      svg_.text((from + to) / 2, y_ + bar / 2 + 4, d.doing, 11,
                solid           ? "#ffffff"
                : paint.empty() ? soft
                                : ink,
                Anchor::middle);
    }
  }

  static std::string shortened(const std::string& words, double room, double size) {
    auto out = words;
    while (!out.empty() && width_of(out, size) > room) {
      do out.pop_back();
      while (!out.empty() && (out.back() & 0xc0) == 0x80);  // whole letters
      if (width_of(out, size) <= room - size) return out + "…";
    }
    return out;
  }

  // ---- the phases of the one switch

  static std::string phase_colour(const std::string& name) {
    static const std::map<std::string, std::string> colours = {{"close", "#64748b"}, {"drain", "#8b5cf6"},
                                                               {"evict", "#2f6db5"}, {"restore", "#e0752d"},
                                                               {"open", "#94a3b8"},  {"first kernel", "#3f9b6d"}};
    const auto at = colours.find(name);
    return at == colours.end() ? "#64748b" : at->second;
  }

  void phases() {
    svg_.text(left - 12, y_ + 12, "phases", 12, soft, Anchor::end);
    double word = left;
    for (const auto& part : window_.about->parts) {
      const double from = x(part.from), to = std::max(x(part.to), from + 0.6);
      if (part.to == part.from) continue;
      svg_.rect(from, y_ + 2, to - from, 12, phase_colour(part.name));
      const auto label = fmt::format("{} {}", part.name, duration(part.to - part.from));
      svg_.rect(word, y_ + 22, 9, 9, phase_colour(part.name), "rx=\"2\"");
      svg_.text(word + 13, y_ + 30.5, label, 11.5, ink);
      word += width_of(label, 11.5) + 32;
    }
    strip_bottom_ = y_ + 14;
    y_ += 48;
  }

  // ---- memory

  void memory() {
    const double bottom = y_ + memory_height;
    for (const int quarter : {0, 1, 2, 3, 4}) {
      const double at = bottom - memory_height * quarter / 4;
      svg_.line(left, at, left + plot, at, quarter == 4 ? soft : faint, quarter == 4 ? "stroke-dasharray=\"4 3\"" : "");
      svg_.text(left - 12, at + 4, size_of(card_.memory * static_cast<unsigned>(quarter) / 4), 11, soft, Anchor::end);
    }
    svg_.text(left + plot, y_ - 5, "memory on the card", 11, soft, Anchor::end);
    const auto columns = static_cast<std::size_t>(plot) + 1;
    std::vector<std::uint64_t> below(columns, 0);
    for (auto at = actors_.rbegin(); at != actors_.rend(); ++at) layer(**at, below, bottom);
    y_ = bottom;
  }

  void layer(const Actor& actor, std::vector<std::uint64_t>& below, double bottom) {
    const auto span = window_.to - window_.from;
    const auto height = [&](std::uint64_t bytes) {
      return bottom -
             memory_height * static_cast<double>(bytes) / static_cast<double>(std::max<std::uint64_t>(card_.memory, 1));
    };
    std::vector<std::pair<double, double>> outline, back;
    const auto add = [](auto& line, double px, double py) {  // corners only
      const auto n = line.size();
      if (n >= 2 && line[n - 1].second == py && line[n - 2].second == py) line.pop_back();
      line.emplace_back(px, py);
    };
    for (std::size_t i = 0; i < below.size(); ++i) {
      const double px = left + static_cast<double>(i);
      add(back, px, height(below[i]));
      const auto share = static_cast<double>(i) / static_cast<double>(below.size() - 1);
      below[i] += actor.resident_at(window_.from + static_cast<Nanoseconds>(share * static_cast<double>(span)));
      add(outline, px, height(below[i]));
    }
    outline.insert(outline.end(), back.rbegin(), back.rend());
    svg_.area(outline, colours_[&actor]);
  }

  // ---- time

  void axis() {
    const Nanoseconds zero = window_.about ? window_.about->seen : window_.from;
    const double from = (static_cast<double>(window_.from) - static_cast<double>(zero)) / 1e9;
    const double to = (static_cast<double>(window_.to) - static_cast<double>(zero)) / 1e9;
    const double step = step_for(to - from);
    const bool in_ms = to - from < 5;
    svg_.line(left, y_, left + plot, y_, ink);
    for (double t = std::ceil(from / step) * step; t <= to + step / 1e6; t += step) {
      const double px = left + plot * (t - from) / (to - from);
      svg_.line(px, y_, px, y_ + 5, ink);
      const double shown = std::abs(t) < step / 1e3 ? 0.0 : t;
      svg_.text(px, y_ + 18,
                in_ms ? fmt::format("{:.0f}", shown * 1e3) : fmt::format("{:g}", std::round(shown * 1e3) / 1e3), 11,
                soft, Anchor::middle);
    }
    svg_.text(left - 12, y_ + 18, in_ms ? "ms" : "s", 11, soft, Anchor::end);
    y_ += 22;
  }

  // What a line through everything tells; of a whole day only where requests came.
  void marks(double top) {
    const double bottom = y_ - 22;
    if (const auto* s = window_.about) {
      mark(s->seen, top, bottom, "request", Anchor::end);
      mark(s->first_kernel, top, bottom, "first kernel", Anchor::start);
      return;
    }
    for (const auto& s : card_.switches)
      if (s.preemption && s.seen >= window_.from && s.seen <= window_.to)
        svg_.text(x(s.seen), top - 6, "▼", 8, ink, Anchor::middle);
  }

  void mark(Nanoseconds at, double top, double bottom, const std::string& words, Anchor anchor) {
    // Not through the words between the two.
    for (const auto& [from, to] : {std::pair{top - 8, strip_bottom_}, std::pair{bottom - memory_height, bottom}})
      svg_.line(x(at), from, x(at), to, ink, "stroke-width=\"1.2\" stroke-dasharray=\"3 3\"");
    svg_.text(x(at) + (anchor == Anchor::end ? 4 : -4), top - 12, words, 11.5, ink,
              anchor == Anchor::end ? Anchor::middle : Anchor::start, "font-weight=\"600\"");
  }

  void legend() {
    y_ += 22;
    double at = left;
    const auto entry = [&](const std::string& paint, const std::string& words) {
      if (paint.empty())
        svg_.line(at, y_ - 4, at + 16, y_ - 4, "#b6c2cf", "stroke-width=\"2\" stroke-dasharray=\"2 4\"");
      else
        svg_.rect(at, y_ - 9, 16, 10, paint);
      svg_.text(at + 21, y_, words, 11, soft);
      at += width_of(words, 11) + 44;
    };
    if (actors_.empty()) return;
    const auto* actor = actors_.back();
    entry(fill(actor, "running"), "may use the card");
    entry(fill(actor, "evicting"), "paused, its work ends and its memory leaves");
    entry("", "paused");
    entry(fill(actor, "restoring"), "its memory comes back");
    if (!window_.about) entry("", "▼ a request takes the card");
  }

  const CardStory& card_;
  const Window& window_;
  Svg svg_;
  double y_ = 0, strip_bottom_ = 0;
  std::vector<const Actor*> actors_;
  std::map<const Actor*, std::string> colours_;
  std::vector<std::string> hatches_;
};

}  // namespace

Window window_of(const CardStory& card, const SwitchStory& s, Nanoseconds end) {
  Nanoseconds last = s.ended ? s.ended : s.first_kernel;
  for (const auto& other : card.switches)
    if (other.first_kernel > s.first_kernel && std::find(s.from.begin(), s.from.end(), other.to) != s.from.end() &&
        other.id > s.id) {
      last = std::max(last, other.first_kernel);
      break;
    }
  const auto margin = (std::max(last, s.first_kernel) - s.seen) / 6;
  return {s.seen - std::min(s.seen, margin), std::min(std::max(end, last), std::max(last, s.first_kernel) + margin),
          &s};
}

std::string picture_of(const CardStory& card, const Window& window) { return Painter(card, window).paint(); }

}  // namespace lull::cli
