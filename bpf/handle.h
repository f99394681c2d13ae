// bpf/handle.h: an owned descriptor; bpf/ knows nothing of the other rooms.
#pragma once
#include <unistd.h>

#include <utility>

namespace lull {

class Handle {
 public:
  explicit Handle(int fd = -1) : fd_(fd) {}
  Handle(Handle&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Handle() {
    if (fd_ >= 0) (void)::close(fd_);  // nothing to do about a failing close
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

}  // namespace lull
