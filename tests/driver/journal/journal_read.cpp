#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "tests/driver/journal/journal_file.h"

namespace lull::sim {
namespace {

constexpr auto names = std::to_array<std::string_view>({
#define NAME(symbol, base, since, suffix) #symbol,
#include "tests/driver/surface/names.inc"
#undef NAME
});

std::string cannot_open(const std::string& path) {
  return "cannot open the journal " + path + ": " + std::strerror(errno);
}

// As much as there is of what was asked for.
std::size_t read_at(int fd, std::uint64_t offset, void* to, std::size_t bytes) {
  std::size_t got = 0;
  for (ssize_t n = 1; n > 0 && got < bytes; got += static_cast<std::size_t>(std::max<ssize_t>(n, 0)))
    n = ::pread(fd, static_cast<std::byte*>(to) + got, bytes - got, static_cast<off_t>(offset + got));
  return got;
}

// False: no journal.
bool read_head(int fd, JournalHead& head) {
  return read_at(fd, 0, &head, sizeof head) == sizeof head &&
         head.magic.load(std::memory_order_relaxed) == journal_magic;
}

void visit_blocks(int fd, const std::function<void(const Record&)>& visit) {
  std::vector<Record> block(journal_block_records);
  for (std::uint64_t at = journal_head_bytes;; at += journal_block_bytes) {
    const std::size_t records = read_at(fd, at, block.data(), journal_block_bytes) / sizeof(Record);
    for (std::size_t i = 0; i < records; ++i)
      if (block[i].kind != Kind::none) visit(block[i]);
    if (records < journal_block_records) return;
  }
}

}  // namespace

bool visit_journal(const std::string& path, const std::function<void(const Record&)>& visit, std::string* problem) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (problem) *problem = cannot_open(path);
    return false;
  }
  JournalHead head{};
  const bool right = read_head(fd, head);
  if (problem) *problem = right ? "" : path + " is no journal of the simulated GPU";
  if (right) visit_blocks(fd, visit);
  (void)::close(fd);
  return right;
}

std::vector<Record> read_journal(const std::string& path, std::string* problem) {
  std::vector<Record> records;
  (void)visit_journal(
      path, [&](const Record& record) { records.push_back(record); }, problem);
  std::stable_sort(records.begin(), records.end(),
                   [](const Record& a, const Record& b) { return a.start_ns < b.start_ns; });
  return records;
}

JournalHeading read_journal_heading(const std::string& path) {
  JournalHeading heading;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return heading;
  JournalHead head{};
  const bool right = read_head(fd, head);
  (void)::close(fd);
  if (!right) return heading;
  const double scale = std::bit_cast<double>(head.time_scale.load(std::memory_order_relaxed));
  if (scale >= 1) heading.time_scale = scale;
  heading.card.assign(head.card, ::strnlen(head.card, sizeof head.card));
  return heading;
}

std::string_view function_name(std::uint16_t function) { return function < names.size() ? names[function] : ""; }

std::uint16_t function_number(std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? 0xffff : static_cast<std::uint16_t>(found - names.begin());
}

std::string_view kind_name(Kind kind) {
  static constexpr std::array<std::string_view, 9> kinds = {"none",   "call",   "copy_h2d", "copy_d2h", "copy_d2d",
                                                            "kernel", "memset", "mark",     "slice"};
  const auto number = static_cast<std::size_t>(kind);
  return number < kinds.size() ? kinds[number] : "unknown";
}

std::string mark_text(const Record& record) {
  if (record.kind != Kind::mark) return {};
  char text[16];
  std::memcpy(text, &record.address, 8);
  std::memcpy(text + 8, &record.bytes, 8);
  return {text, ::strnlen(text, sizeof text)};
}

std::vector<Record> between(const std::vector<Record>& records, std::string_view from, std::string_view to) {
  const auto is = [](std::string_view text) {
    return [text](const Record& r) { return r.kind == Kind::mark && mark_text(r) == text; };
  };
  const auto first = std::find_if(records.begin(), records.end(), is(from));
  if (first == records.end()) return {};
  const auto last = std::find_if(first + 1, records.end(), is(to));
  return {first + 1, last};
}

std::uint64_t busy_ns(const std::vector<Record>& records, Kind kind) {
  std::uint64_t busy = 0, until = 0;
  for (const Record& record : records) {  // by start_ns
    if (record.kind != kind || record.end_ns <= until) continue;
    busy += record.end_ns - std::max(until, record.start_ns);
    until = record.end_ns;
  }
  return busy;
}

}  // namespace lull::sim
