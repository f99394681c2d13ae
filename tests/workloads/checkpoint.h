// tests/workloads/checkpoint.h: a trainer's state as a file: a header, then every byte of weights and momentum.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/workloads/gpu.h"

namespace lull::workload {

struct Layer {
  Buffer weights, momentum;
  std::uint32_t salt;
};

// Writes beside `path` and renames, so that the file is whole whenever it is there. Throws with path and reason.
void save(const std::string& path, std::uint64_t step, const std::vector<Layer>&);

// Fills the layers and returns the step after which the state was saved.
std::uint64_t restore(const std::string& path, std::vector<Layer>&);

}  // namespace lull::workload
