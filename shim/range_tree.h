// shim/range_tree.h: things that own ranges of addresses, found by any address inside. On tsearch of libc, since the
// shim cannot link the C++ library. Not thread-safe; its owner's lock covers it.
//
// T has `Range range() const`. Two ranges that overlap count as equal, so a point finds what it lies in, and a range
// that is not free cannot be added.
#pragma once
#include <search.h>

#include <cstdint>

namespace lull {

struct Range {
  std::uint64_t at, bytes;
};

template <class T>
class RangeTree {
 public:
  // False: something is there already, or the host is out of memory.
  [[nodiscard]] bool add(T* item) {
    void* node = ::tsearch(item, &root_, compare);
    return node && *static_cast<T**>(node) == item;
  }
  void remove(T* item) { (void)::tdelete(item, &root_, compare); }

  // Anything that overlaps the range; null: nothing does.
  T* overlapping(Range range) const {
    const Key key{range};
    void* node = ::tfind(&key, &root_, compare_key);
    return node ? *static_cast<T**>(node) : nullptr;
  }
  T* at(std::uint64_t address) const { return overlapping({address, 1}); }
  void visit(void (*visitor)(const void*, VISIT, int)) const { ::twalk(root_, visitor); }

 private:
  struct Key {
    Range range;
  };
  static int order(Range a, Range b) {
    if (a.at + a.bytes <= b.at) return -1;
    return b.at + b.bytes <= a.at ? 1 : 0;
  }
  static int compare(const void* left, const void* right) {
    return order(static_cast<const T*>(left)->range(), static_cast<const T*>(right)->range());
  }
  static int compare_key(const void* key, const void* item) {
    return order(static_cast<const Key*>(key)->range, static_cast<const T*>(item)->range());
  }
  void* root_ = nullptr;
};

}  // namespace lull
