// shim/vector.h: a growing array for plain values. The shim cannot link the C++ library, whose vector throws.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <type_traits>

namespace lull {

template <class T>
class Vector {
  static_assert(std::is_trivially_copyable_v<T>, "moved by realloc");

 public:
  constexpr Vector() = default;
  Vector(const Vector&) = delete;
  Vector& operator=(const Vector&) = delete;
  // No destructor: most vectors are the process's, and exit() must not pull them away from threads that still run.
  void release() {
    std::free(items_);
    items_ = nullptr;
    size_ = capacity_ = 0;
  }

  // False when the host is out of memory; nothing has changed then.
  [[nodiscard]] bool push(const T& item) {
    if (size_ == capacity_) {
      const std::size_t wider = capacity_ ? capacity_ * 2 : 8;
      // NOLINTNEXTLINE(bugprone-sizeof-expression): a T may be a pointer
      void* moved = std::realloc(static_cast<void*>(items_), wider * sizeof(T));
      if (!moved) return false;
      items_ = static_cast<T*>(moved);
      capacity_ = wider;
    }
    items_[size_++] = item;
    return true;
  }
  [[nodiscard]] bool insert(std::size_t at, const T& item) {
    if (!push(item)) return false;
    for (std::size_t i = size_ - 1; i > at; --i) items_[i] = items_[i - 1];
    items_[at] = item;
    return true;
  }
  void erase(std::size_t at) {  // keeps the order
    for (std::size_t i = at + 1; i < size_; ++i) items_[i - 1] = items_[i];
    --size_;
  }
  void remove(const T& item) {
    for (std::size_t i = 0; i < size_; ++i)
      if (items_[i] == item) return erase(i);
  }
  void clear() { size_ = 0; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t i) { return items_[i]; }
  const T& operator[](std::size_t i) const { return items_[i]; }
  T& back() { return items_[size_ - 1]; }
  T* begin() { return items_; }
  T* end() { return items_ + size_; }
  const T* begin() const { return items_; }
  const T* end() const { return items_ + size_; }

 private:
  T* items_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace lull
