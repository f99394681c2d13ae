// The simulated GPU: what a test may choose, by environment, read once at the first call.
//
//   LULL_SIM_MEMORY    device memory of a card, such as 256MiB                          (1GiB)
//   LULL_SIM_LINK      bytes a second between host and device, each way                 (1e9)
//   LULL_SIM_POOL      the file that all processes of one card share: its memory and its accounts
//                      (/dev/shm/lull-sim-<uid>); further cards add .1, .2 ... Who names it removes it.
//   LULL_SIM_DEVICES   cards, 1 to 8                                                    (1)
//   LULL_SIM_CONTEXT   native bytes a context costs                                     (16MiB)
//   LULL_SIM_MODULE    native bytes a loaded module costs                               (1MiB)
//   LULL_SIM_POISON    1: newly created device memory is filled with 0xCB               (off)
//   LULL_SIM_JOURNAL   file that every call and every engine's work is written to, see journal.h   (off)
//   LULL_SIM_FAULTS    FUNCTION:NTH=ERROR;... : the NTH call (from 1) of an exported function fails with that error
//                      instead of being made; FUNCTION:NTH+=ERROR: that call and all later ones
//
// An existing pool that a living process uses stays as it is: LULL_SIM_MEMORY then does not matter.
// A value that makes no sense is reported on standard error and cuInit answers CUDA_ERROR_UNKNOWN.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace lull::sim {

struct Fault {
  std::string function;
  std::uint64_t nth = 1;
  bool and_later = false;
  int error = 0;
};

struct Settings {
  std::size_t memory_bytes = std::size_t{1} << 30;
  std::uint64_t link_bytes_per_s = 1'000'000'000;
  std::string pool;
  int devices = 1;
  std::size_t context_bytes = 16u << 20;
  std::size_t module_bytes = 1u << 20;
  bool poison = false;
  std::string journal;
  std::vector<Fault> faults;
  std::string problem;  // not empty: what makes no sense, and what would
};

const Settings& settings();

// "256MiB", "1GB", "1e9", "4096": bytes; 0 for anything else.
std::uint64_t parse_bytes(const std::string& text);
// FUNCTION:NTH=ERROR;...; false if any part is malformed.
bool parse_faults(const std::string& text, std::vector<Fault>& out);

}  // namespace lull::sim
