#include "tests/driver/copy/copy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"
#include "tests/driver/copy/engine_time.h"
#include "tests/driver/copy/reach.h"
#include "tests/driver/faults/faults.h"
#include "tests/driver/graph/graph.h"
#include "tests/driver/managed/managed.h"
#include "tests/driver/memory/guard.h"

namespace lull::sim {
namespace {

bool from_device(Route route) { return route == Route::to_host || route == Route::within_device; }
bool to_device(Route route) { return route == Route::to_device || route == Route::within_device; }

// Of host memory only what is page-locked is known, and only that it is read-only can be wrong with it.
bool faults_for(Touch touch, bool on_device) { return on_device ? faults(touch) : touch == Touch::illegal; }

// A row longer than any object can be ends in nobody's memory.
bool sides_fault(const Box& box, Route route) {
  return box.width > PTRDIFF_MAX ||
         faults_for(classify_side(box.from, box.width, box.height, box.depth, reading), from_device(route)) ||
         faults_for(classify_side(box.to, box.width, box.height, box.depth, writing), to_device(route));
}

void move_bytes(const Box& box) {
  for (std::size_t z = 0; z < box.depth; ++z) {
    for (std::size_t y = 0; y < box.height; ++y) {
      std::memmove(reinterpret_cast<void*>(box.to.address + z * box.to.slice + y * box.to.pitch),
                   reinterpret_cast<const void*>(box.from.address + z * box.from.slice + y * box.from.pitch),
                   box.width);
    }
  }
}

Kind kind_of(Route route) {
  if (route == Route::to_device) return Kind::copy_h2d;
  return route == Route::to_host ? Kind::copy_d2h : Kind::copy_d2d;
}

std::size_t span_of(const Side& side, const Box& box) {
  return (box.depth - 1) * side.slice + (box.height - 1) * side.pitch + box.width;
}

void note_managed(const Box& box, Route route, Device& device) {
  if (to_device(route)) managed_touched(device, box.to.address, span_of(box.to, box));
  if (from_device(route)) managed_touched(device, box.from.address, span_of(box.from, box));
}

bool page_locked(const Side& side, const Box& box) {
  return classify_side(side, box.width, box.height, box.depth, reading) == Touch::known_host;
}

// A staging buffer of the driver counts as pageable: the copy is as slow as the program's memory makes it.
bool pageable(const Box& box, Route route) {
  return (!from_device(route) && !page_locked(box.from, box)) || (!to_device(route) && !page_locked(box.to, box));
}

CUresult perform(const Box& box, Route route, Running& running) {
  const bool faulty = sides_fault(box, route);  // such a copy ends as it begins, however long it was to be
  const EngineTime engine(running, route, faulty ? 0 : box.bytes(), pageable(box, route));
  const bool wrong = fault_at_copy(kind_of(route));
  const bool whole = !faulty && run_touching_memory([&] {
    move_bytes(box);
    if (wrong) *reinterpret_cast<std::uint8_t*>(box.to.address + box.width / 2) ^= 0x01;
  });
  const CUresult result = whole ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
  if (whole) note_managed(box, route, running.device);
  const Span span = engine.wait();
  running.end_ns = span.end_ns;
  if (route != Route::within_host)
    note(running, kind_of(route), span, to_device(route) ? box.to.address : box.from.address, box.bytes(), result);
  return result;
}

bool staged_whole(const CopyPlan& plan, Wait wait) {
  if (plan.route != Route::to_device) return false;
  if (wait == Wait::source_read) return true;
  return plan.box.bytes() <= settings().card.staging_bytes && pageable(plan.box, plan.route) &&
         !sides_fault(plan.box, plan.route);  // the driver looks at its own tables at the call, and stages nothing then
}

bool returns_when_done(const CopyPlan& plan, Wait wait) {
  if (plan.route == Route::within_device) return wait == Wait::source_read;
  return wait != Wait::no || plan.route == Route::within_host || pageable(plan.box, plan.route);
}

// Takes the program's bytes now; the program may change them as soon as the call has returned.
CUresult queue_staged(Stream& stream, const CopyPlan& plan) {
  const auto staging = std::make_shared<std::vector<std::byte>>(plan.box.bytes());
  const Side packed{reinterpret_cast<std::uintptr_t>(staging->data()), plan.box.width,
                    plan.box.width * plan.box.height};
  Box into = plan.box, out = plan.box;
  into.to = out.from = packed;
  if (!run_touching_memory([&] { move_bytes(into); })) return CUDA_ERROR_INVALID_VALUE;
  return submit(stream, CU_GRAPH_NODE_TYPE_MEMCPY,
                [out, route = plan.route, staging](Running& running) { return perform(out, route, running); });
}

}  // namespace

bool known_to_device(std::uintptr_t address) {
  const Touch touch = classify(address, 1, reading);
  return touch == Touch::device || touch == Touch::illegal || touch == Touch::overrun || touch == Touch::idle;
}

CUresult CopyOperation::run(Running& running) const { return perform(box_, route_, running); }

Route route_between(std::uintptr_t to, std::uintptr_t from) {
  if (known_to_device(to)) return known_to_device(from) ? Route::within_device : Route::to_device;
  return known_to_device(from) ? Route::to_host : Route::within_host;
}

CUresult check_copy(const Box& box, Route route) {
  if (box.bytes() == 0) return CUDA_SUCCESS;
  if (!box.to.address || !box.from.address) return CUDA_ERROR_INVALID_VALUE;
  if (from_device(route) && refused_and_told(box.from, box.width, box.height, box.depth, reading))
    return CUDA_ERROR_INVALID_VALUE;
  if (to_device(route) && refused_and_told(box.to, box.width, box.height, box.depth, writing))
    return CUDA_ERROR_INVALID_VALUE;
  return CUDA_SUCCESS;
}

CUresult queue_copy(Stream& stream, const CopyPlan& plan, Wait wait) {
  if (wait == Wait::yes) {
    if (const CUresult refused = unsafe_during_capture()) return refused;
  }
  if (const CUresult refused = check_copy(plan.box, plan.route)) return refused;
  if (plan.box.bytes() == 0) return CUDA_SUCCESS;
  const bool captures = capture_of(stream) != nullptr;
  if (!captures && staged_whole(plan, wait)) {
    if (wait == Wait::yes) {
      if (const CUresult failed = synchronize(stream)) return failed;
    }
    return queue_staged(stream, plan);
  }
  Ticket placed;
  const CUresult failed = submit(stream, std::make_shared<CopyOperation>(plan.box, plan.route), {}, &placed);
  if (failed || captures || !returns_when_done(plan, wait)) return failed;
  stream.wait_until(placed.number);  // not for what other threads have given the stream since
  return stream.life().sticky();
}

}  // namespace lull::sim
