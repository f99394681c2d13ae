// The simulated GPU: what a test may choose, by environment, read once at the first call.
//
//   LULL_SIM_CARD      which card: sim, rtx-3090, rtx-4090, h100, or the path of a profile (card/profile.h)   (sim)
//   LULL_SIM_MEMORY    device memory of a card, such as 256MiB                          (the profile's: 1GiB)
//   LULL_SIM_LINK      bytes a second between host and device, each way, also while the other way is busy
//                                                                                       (the profile's: 1e9)
//   LULL_SIM_SCALE     real time = modelled time x this, 1 to 1e6                       (the profile's: 1)
//   LULL_SIM_POOL      the file that all processes of one card share: its memory and its accounts
//                      (/dev/shm/lull-sim-<uid>); further cards add .1, .2 ... Who names it removes it.
//   LULL_SIM_DEVICES   cards, 1 to 8                                                    (1)
//   LULL_SIM_CONTEXT   native bytes a context costs                                     (the profile's: 16MiB)
//   LULL_SIM_MODULE    native bytes a loaded module costs                               (the profile's: 1MiB)
//   LULL_SIM_GRAPH     native bytes an executable graph costs                           (64KiB)
//   LULL_SIM_QUEUE     pieces of work a stream takes before a call waits, 1 to 1000000  (1024)
//   CUDA_MODULE_LOADING  as with every driver: LAZY, DEFAULT: a module's code is loaded, and charged, when a kernel of
//                      it is first used; EAGER: when the module is loaded             (LAZY)
//   LULL_SIM_POISON    1: newly created device memory is filled with 0xCB               (off)
//   LULL_SIM_JOURNAL   file that every call and every engine's work is written to, see journal.h   (off)
//   LULL_SIM_REPORT    a file, or stderr: a line for each misuse of memory that is found, see memory/report.h (off)
//   LULL_SIM_FAULTS    faults on demand, separated by ; such as cuMemCreate:3=2, see faults/request.h        (none)
//   LULL_SIM_CONTROL   Unix socket that takes such requests while the process runs, see faults/control.h     (none)
//
// An existing pool that a living process uses stays as it is: LULL_SIM_MEMORY then does not matter.
// A value that makes no sense is reported on standard error and cuInit answers CUDA_ERROR_UNKNOWN.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "tests/driver/card/profile.h"
#include "tests/driver/card/units.h"

namespace lull::sim {

struct Settings {
  Profile card;                                                       // with what the environment overrides in it
  std::size_t memory_bytes = 0, context_bytes = 0, module_bytes = 0;  // the card's
  std::string pool;
  int devices = 1;
  std::size_t graph_bytes = 64u << 10;
  std::size_t queue_depth = 1024;
  bool lazy_loading = true;
  bool poison = false;
  std::string journal;
  std::string report;
  std::string faults, control;
  std::string problem;  // not empty: what makes no sense, and what would
};

const Settings& settings();

// Modelled nanoseconds on the machine's clock, and back.
std::uint64_t stretched_ns(std::uint64_t modelled_ns);
std::uint64_t modelled_ns(std::uint64_t real_ns);

}  // namespace lull::sim
