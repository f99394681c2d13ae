// broker/cli/top_text.cpp: text of a given width, and bars.
#include <fmt/format.h>

#include <algorithm>

#include "broker/cli/top_render.h"

namespace lull::cli {

unsigned columns_of(const std::string& utf8) {
  return static_cast<unsigned>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string cut(const std::string& utf8, unsigned columns, bool ascii) {
  if (columns_of(utf8) <= columns) return utf8;
  if (columns == 0) return "";
  std::size_t at = 0;
  for (unsigned left = columns - 1; at < utf8.size(); ++at)
    if ((static_cast<unsigned char>(utf8[at]) & 0xc0) != 0x80 && left-- == 0) break;
  return utf8.substr(0, at) + (ascii ? "~" : "…");
}

std::string plain_text(const Line& line) {
  std::string all;
  for (const auto& span : line) all += span.text;
  all.erase(all.find_last_not_of(' ') + 1);
  return all;
}

std::string size(std::uint64_t bytes) {
  if (bytes == 0) return "-";
  const auto mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 1000) return fmt::format("{:.0f}M", mib);
  return fmt::format("{:.1f}G", mib / 1024);
}

std::string duration(std::uint64_t ns) {
  constexpr std::uint64_t second = 1'000'000'000;
  const auto seconds = ns / second;
  if (seconds < 10) return fmt::format("{:.1f}s", static_cast<double>(ns) / 1e9);
  if (seconds < 100) return fmt::format("{}s", seconds);
  if (seconds < 6000) return fmt::format("{}min", seconds / 60);
  if (seconds < 172800) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

namespace {

struct Cells {
  std::size_t share;
  unsigned count;
};

// By their bytes, rounded down; what is left over goes to those that lost most. Those that are there at all get a cell
// of the largest's.
std::vector<Cells> cells_of(const std::vector<Share>& shares, std::uint64_t whole, unsigned columns) {
  std::vector<Cells> all;
  std::vector<std::pair<double, std::size_t>> lost;
  unsigned used = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double exact = static_cast<double>(shares[i].bytes) * columns / static_cast<double>(whole);
    const auto floor = static_cast<unsigned>(std::min(exact, static_cast<double>(columns)));
    all.push_back({i, std::min(floor, columns - used)});
    used += all.back().count;
    lost.emplace_back(exact - floor, i);
  }
  std::stable_sort(lost.begin(), lost.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (const auto& [part, i] : lost)
    if (used < columns && part >= 0.5) ++all[i].count, ++used;
  for (auto& cell : all) {
    if (cell.count != 0 || shares[cell.share].bytes == 0) continue;
    const auto largest = std::max_element(all.begin(), all.end(), [](auto& a, auto& b) { return a.count < b.count; });
    if (largest->count > columns / 8) --largest->count, ++cell.count;
  }
  return all;
}

}  // namespace

Line bar(const std::vector<Share>& shares, std::uint64_t whole, unsigned columns, bool ascii) {
  Line line;
  std::uint64_t sum = 0;
  for (const auto& share : shares) sum += share.bytes;
  whole = std::max(whole, sum);
  if (columns < 4 || whole == 0) return line;
  unsigned left = columns - 1;  // the last column closes it
  const std::string edge = ascii ? "|" : "▏";
  for (const auto& [i, count] : cells_of(shares, whole, left)) {
    if (count == 0) continue;
    const auto& share = shares[i];
    auto label = count > 2 ? cut(share.label, count - 1, ascii) : "";
    label += std::string(count - 1 - columns_of(label), share.fill);
    line.push_back({edge + label, share.tint, true});
    left -= count;
  }
  line.push_back({std::string(left, ' ') + edge, Tint::dim});
  return line;
}

}  // namespace lull::cli
