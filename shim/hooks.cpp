// Every row of hooks.def against NVIDIA's typedefs, and the function each handled row's export jumps to.
#include <cuda.h>
#include <cudaProfilerTypedefs.h>
#include <cudaTypedefs.h>

#include <type_traits>

#include "shim/gated.h"
#include "shim/graphs.h"
#include "shim/handlers.h"
#include "shim/lookup.h"
#include "shim/pieces.h"
#include "shim/real.h"
#include "shim/room.h"
#include "shim/timed.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define HOOK(symbol, name, since, stream, ...) \
  static_assert(std::is_same_v<decltype(&::symbol), PFN_##name##_v##since##stream>, #symbol ": wrong row");
#include "shim/hooks.def"
#undef HOOK

namespace lull {
namespace {

constexpr struct {
} pass;
constexpr struct {
} gated;
constexpr struct {
} split;
constexpr struct {
} retried;

// Gated rows that do a little more.
template <auto& next>
constexpr bool launches_graph = false;
template <>
constexpr bool launches_graph<real::cuGraphLaunch> = true;
template <>
constexpr bool launches_graph<real::cuGraphLaunch_ptsz> = true;
template <typename Signature>
constexpr bool makes_graph = std::is_same_v<Signature, decltype(::cuGraphInstantiateWithParams)>;

template <auto& next, Stream flavour, typename Signature>
consteval Signature* gated_call() {
  if constexpr (launches_graph<next>)
    return &GatedGraph<next, flavour>::launch;
  else if constexpr (makes_graph<Signature>)
    return &GatedGraph<next, flavour>::instantiate;
  else
    return &Gated<next, flavour, Signature>::call;
}

// What a handler word means for one row. A function of another type than the driver's does not compile.
template <auto& next, Stream flavour, typename Signature>
struct Slot {
  static consteval Signature* of(decltype(pass)) { return nullptr; }  // the export jumps to the driver itself
  static consteval Signature* of(decltype(gated)) { return gated_call<next, flavour, Signature>(); }
  static consteval Signature* of(decltype(split)) { return &InPieces<next, flavour, Signature>::call; }
  static consteval Signature* of(decltype(retried)) { return &room::Retried<next, Signature>::call; }
  static consteval Signature* of(Signature* handler) { return handler; }
};

constexpr Stream flavour_of(const char* suffix) { return *suffix ? Stream::per_thread : Stream::legacy; }

}  // namespace

// Read by exports.S. Overloaded handlers are told apart by the row's type.
#define HOOK(symbol, name, since, stream, ...)                                           \
  extern "C" [[gnu::visibility("hidden")]] const decltype(&::symbol) lull_slot_##symbol; \
  constexpr decltype(&::symbol) lull_slot_##symbol =                                     \
      Slot<real::symbol, flavour_of(#stream), decltype(::symbol)>::of(__VA_ARGS__);
#include "shim/hooks.def"
#undef HOOK

}  // namespace lull
