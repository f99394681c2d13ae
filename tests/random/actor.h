// One thread of a random program: the objects it has made, what it may do with them, and the account it gives.
//
// A program must give the same account whenever and wherever it runs, or a difference would prove nothing. So: an
// actor uses no other actor's objects; work on a buffer from another stream than before waits for what that one was
// given; memory is written before it is read; the account names objects by number and memory by its contents.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <fmt/format.h>

#include "tests/random/dice.h"

namespace lull::random {

enum class Origin { alloc, pitched, managed, stream_ordered, mapped };

struct Buffer {
  unsigned number;
  CUdeviceptr at;
  std::size_t bytes;  // a multiple of 4
  Origin origin;
  CUstream last;  // the stream that was given the latest work on it
};

struct Numbered {
  unsigned number;
  void* handle;
};

struct Stream {
  unsigned number;
  CUstream handle;
  bool blocking;
};

struct Event {
  unsigned number;
  CUevent handle;
  bool recorded;
};

// A reserved address range of the program's own, in granules; each granule mapped to a handle or to nothing.
struct Region {
  unsigned number;
  CUdeviceptr at;
  std::size_t granules;
};

struct Kernels {
  CUmodule module = nullptr;
  CUlibrary library = nullptr;
  CUfunction fill = nullptr, mix = nullptr;
  CUkernel fill_kernel = nullptr;
};

class Actor {
 public:
  Actor(CUcontext context, unsigned number, bool alone);
  ~Actor();
  Actor(const Actor&) = delete;
  Actor& operator=(const Actor&) = delete;

  void begin(unsigned step, const char* operation);  // of what follows in the account
  template <class... Arguments>
  void say(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    account_ +=
        fmt::format("  {:3} {}: {}\n", step_, operation_, fmt::format(format, std::forward<Arguments>(arguments)...));
  }
  const std::string& account() const { return account_; }

  unsigned next_number() { return ++last_number_; }
  Buffer* some_buffer(Dice& dice);  // null: there is none
  CUstream some_stream(Dice& dice, unsigned* number = nullptr);
  void add(CUdeviceptr at, std::size_t bytes, Origin origin);  // and writes it
  void remove(Buffer* buffer);
  std::size_t bytes_held() const;

  // Makes work on the buffer possible in a stream: after all that it was given elsewhere.
  void bring(Buffer& buffer, CUstream stream);
  // The contents, as a number; waits for the buffer's stream.
  std::uint64_t contents(Buffer& buffer);

  const CUcontext context;
  const unsigned number;
  const bool alone;  // no other thread runs: what would be a race between two may be tried
  Kernels kernels;
  std::vector<Buffer> buffers;
  std::vector<Stream> streams;
  std::vector<Event> events;
  std::vector<Region> regions;
  std::vector<std::byte> host;  // pageable
  std::byte* pinned = nullptr;  // of the same size
  bool capturing = false;       // the memory is ready for any stream, and nothing may be waited for

 private:
  std::string account_;
  unsigned step_ = 0, last_number_ = 0;
  const char* operation_ = "";
};

inline constexpr std::size_t host_bytes = 8u << 20;
inline constexpr std::size_t granule = 2u << 20;
inline constexpr std::size_t most_bytes = 40u << 20;  // of an actor

std::uint64_t hash(const void* data, std::size_t bytes);

// What can be done. Every operation may be thrown at any state; what is not possible then is left out.
struct Operation {
  const char* name;
  unsigned weight;
  void (*run)(Actor&, Dice&);
};
extern const std::vector<Operation> memory_operations, own_memory_operations, data_operations, stream_operations,
    graph_operations, code_operations, context_operations, misuse_operations;

// Work on a buffer in the given stream, as data_operations and captures do it.
void some_work(Actor& actor, Dice& dice, CUstream stream);

}  // namespace lull::random
