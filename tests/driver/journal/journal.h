// The call journal: what every process did on the simulated cards, for tests and benches to read.
//
// The file: a head of 4096 bytes, then blocks of 64 KiB, each filled by one thread with records of 64 bytes in the
// order it made them. Writing is a few plain stores into a mapping; a process that dies loses nothing it had written.
//
// Times are CLOCK_MONOTONIC nanoseconds. Those of copies and fills are modelled: a copy starts where its engine became
// free and lasts as long as the card's profile says, whatever the host's scheduler did meanwhile; written_ns is when
// it really was over. Kernels are timed as they ran. A card with a time scale runs in slow motion: modelled durations
// are then (end_ns - start_ns) / scale, while all times stay comparable with each other and with the machine's clock.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lull::sim {

enum class Kind : std::uint16_t {
  none = 0,      // not written
  call = 1,      // an exported function: `function`, `result`, `address` and `bytes` as calls.def says
  copy_h2d = 2,  // the copy engine towards the device: `address` is the device's
  copy_d2h = 3,  // the copy engine towards the host: `address` is the device's
  copy_d2d = 4,  // within the card
  kernel = 5,    // the compute engine: `address` is the CUfunction, `bytes` the number of threads
  memset = 6,
  mark = 7,   // written by a test, see mark_journal: `result` is its number
  slice = 8,  // the compute engine: a part of a kernel between giving way to others
};

struct Record {
  std::uint64_t start_ns;  // a call's entry; an engine's modelled start
  std::uint64_t end_ns;    // a call's return; an engine's modelled end
  std::uint32_t pid;
  std::uint32_t tid;
  Kind kind;
  std::uint16_t function;  // number of the exported name, see function_name
  std::int32_t result;     // CUresult
  std::uint64_t address;
  std::uint64_t bytes;
  std::uint64_t written_ns;
  std::uint32_t device;
  std::uint32_t stream;  // number of the stream in its process, engines only
};
static_assert(sizeof(Record) == 64);

// All records of the file, by start_ns. Empty if there is no such file; `problem` (if given) then says why.
std::vector<Record> read_journal(const std::string& path, std::string* problem = nullptr);

// The same one by one, as they lie in the file: each thread's in its order, the threads' in none. For journals of more
// records than memory should hold. False: no journal.
bool visit_journal(const std::string& path, const std::function<void(const Record&)>& visit,
                   std::string* problem = nullptr);

std::string_view function_name(std::uint16_t function);  // "cuMemAlloc_v2"; empty if unknown
std::uint16_t function_number(std::string_view name);    // 0xffff if unknown
std::string_view kind_name(Kind kind);

// What the head of the file says. No card: only marks have been written so far.
struct JournalHeading {
  std::string card;
  double time_scale = 1;
};
JournalHeading read_journal_heading(const std::string& path);

// Writes a mark of at most 16 characters, such as "gate closed". Any process may, whether it uses the driver or not;
// the file is made if need be. False, and errno: it could not be written, or the text is too long.
bool mark_journal(const std::string& path, std::string_view text, std::int32_t number = 0);
std::string mark_text(const Record& record);  // empty: no mark

// The records that began after the first mark `from` and not after the next mark `to`: what happened while, say, a
// gate was closed. Empty without the first mark; to the end without the second.
std::vector<Record> between(const std::vector<Record>& records, std::string_view from, std::string_view to);

// Nanoseconds in which at least one of these records' engines was busy, overlaps counted once.
std::uint64_t busy_ns(const std::vector<Record>& records, Kind kind);

}  // namespace lull::sim
