// tests/gpu/facts/card.h: the driver by name, a context, kernels that take as long as they are told, and clocks.
#pragma once
#include <cuda.h>
#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lull::facts {

void* symbol(const char* name);  // of the driver; throws Skip where it has none

#define LULL_TEXT_OF(name) #name
#define LULL_TEXT(name) LULL_TEXT_OF(name)
// The driver's function under the name that cuda.h maps it to: CU(cuMemAlloc) is cuMemAlloc_v2.
#define CU(name) (reinterpret_cast<decltype(&::name)>(::lull::facts::symbol(LULL_TEXT(name))))

void must(CUresult, const char* call);  // throws with the error's name unless it succeeded
#define OK(name, ...) ::lull::facts::must(CU(name)(__VA_ARGS__), #name)
const char* name_of(CUresult);

double now();  // seconds, monotonic

// The primary context of device 0, current in this thread.
class Card {
 public:
  Card();
  CUdevice device = 0;
  CUcontext context = nullptr;
  std::size_t granularity = 0;  // of cuMemCreate
  int attribute(CUdevice_attribute) const;
  std::size_t free_bytes() const;
  // At most `wanted`, and no more than a quarter of what is free, in whole granules.
  std::size_t share(std::size_t wanted) const;
};

CUstream make_stream();  // non-blocking
CUmemAllocationProp on_card(const Card&);
CUmemAccessDesc writable(const Card&);

// Work on the card that ends by itself: at the latest after `ns`, sooner when *stop becomes 1.
class Spinner {
 public:
  Spinner();
  void start(CUstream, std::uint64_t ns);         // returns when it runs
  void submit(CUstream, std::uint64_t ns) const;  // returns at once
  void submit_empty(CUstream) const;
  void stop();  // what runs and what is queued ends
  void wait(CUstream) const;

 private:
  CUfunction spin_ = nullptr, empty_ = nullptr;
  volatile std::uint32_t* words_ = nullptr;  // [0] stop, [1] runs; page-locked
  CUdeviceptr words_there_ = 0;
};

// Made and mapped memory of a card, in handles of one size.
class Mapped {
 public:
  Mapped(const Card&, std::size_t bytes, std::size_t handle_bytes);
  void unmap();  // and releases
  void map();    // anew, at the same addresses
  CUdeviceptr at() const { return at_; }
  std::size_t bytes() const { return handle_bytes_ * handles_.size(); }

 private:
  const Card& card_;
  std::size_t handle_bytes_;
  std::vector<CUmemGenericAllocationHandle> handles_;
  CUdeviceptr at_ = 0;
};

// A second process, forked before this one has touched the driver. It runs `body` when it is told to, says a number
// when it is ready, and one when it is done. It goes with this object.
class Other {
 public:
  using Line = std::function<double(double)>;  // says a number to the other side, then waits for one from it
  // One that ends by itself is never killed, not even when this process is: it ends when the line does.
  enum class Ends { with_us, by_itself };
  explicit Other(const std::function<void(const Line&)>& body, Ends = Ends::with_us);
  ~Other();
  double hear();  // throws when the process has ended, or says nothing for a minute
  void say(double);
  void let_end();  // waits until it has ended by itself; one that does not is left alone, and never killed

 private:
  const Ends ends_;
  pid_t pid_ = 0;
  int to_ = -1, from_ = -1;
};

double median(std::vector<double>);
double best(const std::vector<double>&);  // the smallest

}  // namespace lull::facts
