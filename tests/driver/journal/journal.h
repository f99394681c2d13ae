// The call journal: what every process did on the simulated cards, for tests and benches to read.
//
// The file: a head of 4096 bytes, then blocks of 64 KiB, each filled by one thread with records of 64 bytes in the
// order it made them. Writing is a few plain stores into a mapping; a process that dies loses nothing it had written.
// Times are CLOCK_MONOTONIC nanoseconds. Engine times are modelled: a copy starts where the engine became free and
// lasts bytes / LULL_SIM_LINK, whatever the host's scheduler did meanwhile; kernels are timed as they ran.
#pragma once
#include <cstdint>
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

std::string_view function_name(std::uint16_t function);  // "cuMemAlloc_v2"; empty if unknown
std::uint16_t function_number(std::string_view name);    // 0xffff if unknown
std::string_view kind_name(Kind kind);

// Nanoseconds in which at least one of these records' engines was busy, overlaps counted once.
std::uint64_t busy_ns(const std::vector<Record>& records, Kind kind);

}  // namespace lull::sim
