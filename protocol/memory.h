// protocol/memory.h: making, sealing, checking and mapping the memory both sides share.
#pragma once
#include <cstddef>
#include <utility>

#include "protocol/fd.h"
#include "protocol/result.h"

namespace lull {

// A mapping that is unmapped with its owner.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* base, std::size_t bytes) : base_(base), bytes_(bytes) {}
  Mapping(Mapping&& o) noexcept : base_(std::exchange(o.base_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  Mapping& operator=(Mapping&& o) noexcept {
    std::swap(base_, o.base_);
    std::swap(bytes_, o.bytes_);
    return *this;
  }
  ~Mapping();
  template <class T>
  T* as() const {
    return static_cast<T*>(base_);
  }
  std::size_t bytes() const { return bytes_; }
  explicit operator bool() const { return base_ != nullptr; }

 private:
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
};

enum class Writers { everyone, creator_only };
enum class Pages {
  ordinary,
  reserved
};  // reserved: huge ones set aside by the administrator (hugetlb); ENOMEM: used up

// Makes a memfd of `bytes` (a multiple of the page size), maps it for this process and seals it against growing and
// shrinking; with Writers::creator_only also against any further writable mapping.
struct SharedMemory {
  Fd fd;
  Mapping mapping;
};
Result<SharedMemory> make_shared_memory(const char* name, std::size_t bytes, Writers writers,
                                        Pages pages = Pages::ordinary);

// Whether a descriptor that a peer sent is memory of exactly `bytes` whose size can no longer change: mapping
// anything else could fault later. The mapping itself is the caller's business.
Status check_shared_memory(int fd, std::size_t bytes);

}  // namespace lull
