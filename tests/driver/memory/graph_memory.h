// The memory of graphs. The allocation nodes of a graph have addresses for as long as the graph exists; memory is
// behind them from when such a node runs until its memory is freed, and comes from what the device keeps for graphs: it
// stays there for the next run until cuDeviceGraphMemTrim, or until the card has nothing else left.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tests/driver/memory/pool.h"

namespace lull::sim {

// The address of an allocation node: reserved, nothing behind it yet. 0: there is none left.
std::uintptr_t reserve_graph_memory(Device& device, std::size_t bytes);
// The node runs: there is memory behind its address. 2 (out of memory) if the card has none; 1 (invalid value) if the
// address is none of a node, or has its memory already, as that of a graph launched again before it was freed.
CUresult allocate_graph_memory(std::uintptr_t address);
// By a free node, cuMemFree or cuMemFreeAsync. 1 (invalid value) if nothing is allocated there.
CUresult free_graph_memory(std::uintptr_t address);
// An address of a node, whether or not there is memory behind it now.
bool is_graph_memory(std::uintptr_t address);
bool graph_memory_is_allocated(std::uintptr_t address);
// Its graph has gone, and no executable graph has the node either. Memory still allocated stays until it is freed.
void forget_graph_memory(std::uintptr_t address);

// Needs Space::mutex: memory behind no allocation goes back to the card.
void trim_graph_memory(Device& device);

}  // namespace lull::sim
