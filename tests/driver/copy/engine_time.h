// How long a copy has its engine, in modelled time: by the card's profile, never by what this machine needed.
#pragma once
#include <optional>

#include "tests/driver/card/card.h"
#include "tests/driver/copy/copy.h"

namespace lull::sim {

class EngineTime {
 public:
  // Queues the copy on the engine of its route; copies within the host have none, and last as long as they really do.
  EngineTime(const Running& running, Route route, std::size_t bytes, bool pageable);
  // Sleeps until the copy is over (or its context stops) and tells when it began and ended.
  Span wait() const;

 private:
  const Running& running_;
  std::optional<QueuedTransfer> ticket_;
};

// Fills run beside the copy engines. Sleeps until it is over.
Span fill_span(const Running& running, std::size_t bytes);

}  // namespace lull::sim
