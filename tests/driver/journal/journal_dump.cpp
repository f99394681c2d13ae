// journal-dump FILE: the journal as JSON lines.
#include <cinttypes>
#include <cstdio>

#include "tests/driver/journal/journal.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: journal-dump FILE (what LULL_SIM_JOURNAL named)\n");
    return 2;
  }
  std::string problem;
  const auto records = lull::sim::read_journal(argv[1], &problem);
  if (!problem.empty()) {
    std::fprintf(stderr, "journal-dump: %s\n", problem.c_str());
    return 1;
  }
  for (const auto& r : records) {
    const auto kind = lull::sim::kind_name(r.kind);
    const auto name = r.kind == lull::sim::Kind::call ? lull::sim::function_name(r.function) : "";
    std::printf(
        "{\"kind\":\"%.*s\",\"function\":\"%.*s\",\"pid\":%u,\"tid\":%u,\"device\":%u,\"stream\":%u,\"result\":%d,"
        "\"address\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"start_ns\":%" PRIu64 ",\"end_ns\":%" PRIu64 "}\n",
        static_cast<int>(kind.size()), kind.data(), static_cast<int>(name.size()), name.data(), r.pid, r.tid, r.device,
        r.stream, r.result, r.address, r.bytes, r.start_ns, r.end_ns);
  }
}
