// journal-dump [--ndjson] FILE: the journal as a table whose head explains it, or as one JSON object a line.
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "tests/driver/journal/journal.h"

namespace {

using namespace lull::sim;

constexpr const char* columns =
    "# start_us     when it began, on CLOCK_MONOTONIC; copies and fills as the profile has them (modelled)\n"
    "# lasted_us    until it was over, in the card's time: of the machine's, divided by the time scale\n"
    "# late_us      how much later than that its record was written, in the machine's time\n"
    "# pid tid      who\n"
    "# device       number of the card (engines)\n"
    "# stream       number of the stream in its process (engines)\n"
    "# kind         call, copy_h2d, copy_d2h, copy_d2d, memset, kernel, slice, mark\n"
    "# result       CUresult; a mark's number\n"
    "# address      of the device; of a call what its function is about; of a kernel its CUfunction\n"
    "# bytes        moved, filled, or asked for; of a kernel its threads\n"
    "# what         the exported function, or the mark's text\n";

std::string what_of(const Record& r) {
  return r.kind == Kind::call ? std::string(function_name(r.function)) : mark_text(r);
}

void print_table(const std::vector<Record>& records, const JournalHeading& heading) {
  std::printf("# card         %s\n# time scale   %g\n%s", heading.card.empty() ? "none yet" : heading.card.c_str(),
              heading.time_scale, columns);
  std::printf("%-16s %-12s %-10s %-7s %-7s %-6s %-6s %-9s %-6s %-18s %-12s %s\n", "start_us", "lasted_us", "late_us",
              "pid", "tid", "device", "stream", "kind", "result", "address", "bytes", "what");
  for (const Record& r : records) {
    const bool mark = r.kind == Kind::mark;  // its text is in address and bytes
    std::printf(
        "%-16.3f %-12.3f %-10.3f %-7u %-7u %-6u %-6u %-9s %-6d %#-18" PRIx64 " %-12" PRIu64 " %s\n",
        static_cast<double>(r.start_ns) / 1e3, static_cast<double>(r.end_ns - r.start_ns) / heading.time_scale / 1e3,
        (static_cast<double>(r.written_ns) - static_cast<double>(r.end_ns)) / 1e3, r.pid, r.tid, r.device, r.stream,
        std::string(kind_name(r.kind)).c_str(), r.result, mark ? 0 : r.address, mark ? 0 : r.bytes, what_of(r).c_str());
  }
}

// A mark's text is a test's own words.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= ' ' && c <= '~' ? c : '?';
  }
  return out;
}

void print_lines(const std::vector<Record>& records, const JournalHeading& heading) {
  std::printf("{\"kind\":\"heading\",\"card\":\"%s\",\"time_scale\":%g}\n", escaped(heading.card).c_str(),
              heading.time_scale);
  for (const Record& r : records) {
    const bool mark = r.kind == Kind::mark;
    std::printf(
        "{\"kind\":\"%s\",\"function\":\"%s\",\"text\":\"%s\",\"pid\":%u,\"tid\":%u,\"device\":%u,\"stream\":%u,"
        "\"result\":%d,\"address\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"start_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64
        ",\"written_ns\":%" PRIu64 ",\"modelled_ns\":%.0f}\n",
        std::string(kind_name(r.kind)).c_str(), mark ? "" : what_of(r).c_str(),
        mark ? escaped(mark_text(r)).c_str() : "", r.pid, r.tid, r.device, r.stream, r.result, mark ? 0 : r.address,
        mark ? 0 : r.bytes, r.start_ns, r.end_ns, r.written_ns,
        static_cast<double>(r.end_ns - r.start_ns) / heading.time_scale);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool lines = argc == 3 && std::strcmp(argv[1], "--ndjson") == 0;
  if (argc != 2 && !lines) {
    std::fprintf(stderr, "usage: journal-dump [--ndjson] FILE   (what LULL_SIM_JOURNAL named)\n");
    return 2;
  }
  const std::string path = argv[argc - 1];
  std::string problem;
  const auto records = read_journal(path, &problem);
  if (!problem.empty()) {
    std::fprintf(stderr, "journal-dump: %s\n", problem.c_str());
    return 1;
  }
  (lines ? print_lines : print_table)(records, read_journal_heading(path));
}
