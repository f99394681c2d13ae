// shim/ring.h: a queue of fixed size, whose places have numbers: what is under way, oldest first.
#pragma once

namespace lull {

template <class T, unsigned capacity>
class Ring {
 public:
  bool empty() const { return count_ == 0; }
  bool full() const { return count_ == capacity; }
  unsigned size() const { return count_; }
  unsigned next_place() const { return (first_ + count_) % capacity; }
  unsigned oldest_place() const { return first_; }
  T& oldest() { return items_[first_]; }
  T& newest() { return items_[(first_ + count_ - 1) % capacity]; }
  void push(const T& item) { items_[(first_ + count_++) % capacity] = item; }  // not when full
  T pop() {                                                                    // not when empty
    T item = items_[first_];
    first_ = (first_ + 1) % capacity;
    --count_;
    return item;
  }

 private:
  T items_[capacity] = {};
  unsigned first_ = 0, count_ = 0;
};

}  // namespace lull
