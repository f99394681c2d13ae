// shim/graph_memory.h: what the allocation nodes of graphs hold. The driver keeps such memory behind the nodes'
// addresses from one launch to the next; it is counted as native, and what nobody uses leaves the card at an eviction.
//
// Nothing tells a launch that allocates from another one. So once the program has made an allocation node, by whatever
// way, the driver is asked each time.
#pragma once
#include <cstdint>

namespace lull::graph_memory {

void may_be_used();  // from now on, maybe
bool used();

std::uint64_t reserved(unsigned slot);
// After a drain, outside captures: gives back what no launch needs any more. What a graph has allocated and not freed
// stays.
void trim(unsigned slot);

}  // namespace lull::graph_memory
