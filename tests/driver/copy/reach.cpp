#include "tests/driver/copy/reach.h"

#include "tests/driver/memory/report.h"

namespace lull::sim {

Touch classify_side(const Side& side, std::size_t width, std::size_t height, std::size_t depth,
                    CUmemAccess_flags needed) {
  const std::size_t last = (depth - 1) * side.slice + (height - 1) * side.pitch + width;
  const Touch whole = classify(side.address, last, needed);
  if (!faults(whole) || height * depth == 1) return whole;
  for (std::size_t z = 0; z < depth; ++z) {
    for (std::size_t y = 0; y < height; ++y) {
      const Touch row = classify(side.address + z * side.slice + y * side.pitch, width, needed);
      if (faults(row)) return row;
    }
  }
  return Touch::device;
}

bool refused_and_told(const Side& side, std::size_t width, std::size_t height, std::size_t depth,
                      CUmemAccess_flags needed) {
  const bool refused = refused_at_call(classify_side(side, width, height, depth, needed));
  if (refused) report_touch(side.address, width * height * depth);
  return refused;
}

void note(const Running& running, Kind kind, Span span, std::uintptr_t address, std::size_t bytes, CUresult result) {
  journal_write({.start_ns = span.start_ns,
                 .end_ns = span.end_ns,
                 .pid = 0,
                 .tid = 0,
                 .kind = kind,
                 .function = 0xffff,
                 .result = result,
                 .address = address,
                 .bytes = bytes,
                 .written_ns = 0,
                 .device = static_cast<std::uint32_t>(running.device.ordinal),
                 .stream = running.stream_number});
}

}  // namespace lull::sim
