// shim/pieces.h: a copy between host and device of more than 64 MiB goes to the driver in pieces, so that a drain waits
// for one of them and not for all. Each passes the gate on its own; between two of them the memory may leave and come
// back.
//
// What the driver would refuse it has to refuse as a whole, before anything has been copied. An error that does not
// depend on the place (a stream or context that is none, a device out of reach) comes with the first piece. What could
// fail later only is a range that ends too early, so a copy is split only if both of its ranges are known to be whole
// (pieces::is_allowed); any other goes in one call, and the driver judges.
#pragma once
#include <cstddef>

#include "shim/gated.h"

namespace lull {

namespace pieces {

inline constexpr std::size_t largest = 64u << 20;

struct Copy {
  CUdeviceptr to, from;
  std::size_t bytes;
};
enum class Route { to_device, to_host, by_address };

// Whether the copy may go in pieces. Not inside a capture, where it is a node and no work.
bool is_allowed(const Copy& copy, Route route);

inline CUdeviceptr address(CUdeviceptr at) { return at; }
inline CUdeviceptr address(const void* at) { return reinterpret_cast<CUdeviceptr>(at); }
inline CUdeviceptr advanced(CUdeviceptr at, std::size_t bytes) { return at + bytes; }
inline void* advanced(void* at, std::size_t bytes) { return static_cast<char*>(at) + bytes; }
inline const void* advanced(const void* at, std::size_t bytes) { return static_cast<const char*>(at) + bytes; }

// As the function's type says.
inline Route route_of(CUdeviceptr, const void*) { return Route::to_device; }
inline Route route_of(void*, CUdeviceptr) { return Route::to_host; }
inline Route route_of(CUdeviceptr, CUdeviceptr) { return Route::by_address; }

}  // namespace pieces

template <auto& next, Stream flavour, typename Signature>
struct InPieces;

template <auto& next, Stream flavour, typename To, typename From, typename... Rest>
struct InPieces<next, flavour, CUresult(To, From, std::size_t, Rest...)> {
  using Whole = Gated<next, flavour, CUresult(To, From, std::size_t, Rest...)>;

  static CUresult call(To to, From from, std::size_t bytes, Rest... rest) {
    if (bytes > pieces::largest) [[unlikely]]
      return call_in_pieces(to, from, bytes, rest...);
    return Whole::call(to, from, bytes, rest...);
  }

  [[gnu::noinline, gnu::cold]] static CUresult call_in_pieces(To to, From from, std::size_t bytes, Rest... rest) {
    const bool allowed =
        pieces::is_allowed({pieces::address(to), pieces::address(from), bytes}, pieces::route_of(to, from));
    std::size_t piece = allowed ? pieces::largest : bytes;
    CUresult result = CUDA_SUCCESS;
    for (std::size_t done = 0; done < bytes && result == CUDA_SUCCESS; done += piece) {
      if (piece > bytes - done) piece = bytes - done;
      result = Whole::call(pieces::advanced(to, done), pieces::advanced(from, done), piece, rest...);
    }
    return result;
  }
};

}  // namespace lull
