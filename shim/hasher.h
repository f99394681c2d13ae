// shim/hasher.h: hashes chunks on the device (hash_kernel.h), several under way, each answer read by the host without a
// copy. The mover's thread only.
#pragma once
#include <cstdint>

#include "shim/hash_kernel.h"
#include "shim/real.h"

namespace lull {

struct Hash {
  std::uint64_t low, high;
  bool operator==(const Hash&) const = default;
};

struct Digest {
  Hash hash;
  bool zero;  // all of the content is zero
};

class Hasher {
 public:
  static constexpr unsigned depth = 4;

  // Loads the kernel and what it answers into, in the current context, unless it is there. Ahead of need: it allocates.
  bool prepare(CUcontext context);
  bool ready(CUcontext context) const { return context && context_ == context; }
  bool refused(CUcontext context) const { return refused_ == context; }
  void forget() { *this = Hasher{}; }  // the context is gone, and all of it with it
  CUcontext context() const { return context_; }

  // Of memory that nothing else writes, a multiple of 16 bytes.
  CUresult begin(CUdeviceptr base, std::uint64_t bytes, unsigned ticket);
  bool done(unsigned ticket) const;
  CUresult finish(unsigned ticket, Digest& digest);  // waits

 private:
  bool make();
  std::uint64_t* results_of(unsigned ticket) const {
    return results_ + std::uint64_t{ticket} * hash_most_blocks * hash_result_words;
  }

  CUcontext context_ = nullptr, refused_ = nullptr;
  CUfunction kernel_ = nullptr;
  CUstream stream_ = nullptr;
  CUevent done_[depth] = {};
  unsigned blocks_[depth] = {};
  std::uint64_t* results_ = nullptr;  // host memory that the device writes to
  CUdeviceptr results_there_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace lull
