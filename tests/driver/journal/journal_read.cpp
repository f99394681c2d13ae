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

std::vector<std::byte> read_file(const std::string& path, std::string& problem) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    problem = "cannot open the journal " + path + ": " + std::strerror(errno);
    if (fd >= 0) (void)::close(fd);
    return {};
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  std::size_t got = 0;
  for (ssize_t n = 1; n > 0 && got < bytes.size(); got += static_cast<std::size_t>(std::max<ssize_t>(n, 0))) {
    n = ::pread(fd, bytes.data() + got, bytes.size() - got, static_cast<off_t>(got));
  }
  (void)::close(fd);
  bytes.resize(got);
  return bytes;
}

}  // namespace

std::vector<Record> read_journal(const std::string& path, std::string* problem) {
  std::string why;
  const auto bytes = read_file(path, why);
  std::uint64_t magic = 0;
  if (bytes.size() >= journal_head_bytes) std::memcpy(&magic, bytes.data(), sizeof magic);
  if (why.empty() && magic != journal_magic) why = path + " is no journal of the simulated GPU";
  if (problem) *problem = why;
  std::vector<Record> records;
  if (!why.empty()) return records;
  for (std::size_t at = journal_head_bytes; at + sizeof(Record) <= bytes.size(); at += sizeof(Record)) {
    Record record;
    std::memcpy(&record, bytes.data() + at, sizeof record);
    if (record.kind != Kind::none) records.push_back(record);
  }
  std::stable_sort(records.begin(), records.end(),
                   [](const Record& a, const Record& b) { return a.start_ns < b.start_ns; });
  return records;
}

JournalHeading read_journal_heading(const std::string& path) {
  std::string why;
  const auto bytes = read_file(path, why);
  JournalHeading heading;
  if (bytes.size() < journal_head_bytes) return heading;
  const auto* head = reinterpret_cast<const JournalHead*>(bytes.data());
  if (head->magic.load(std::memory_order_relaxed) != journal_magic) return heading;
  const double scale = std::bit_cast<double>(head->time_scale.load(std::memory_order_relaxed));
  if (scale >= 1) heading.time_scale = scale;
  heading.card.assign(head->card, ::strnlen(head->card, sizeof head->card));
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
