#pragma once

// Loads, stores and atomics. An address is a 64-bit row plus the instruction's offset; what it means is the state
// space's business: a host address (generic), an offset in the block's shared memory, an offset in the lane's own local
// memory.
//
// Most accesses of a kernel are to neighbours: lane i touches base + i * size. Those are one copy; all others go lane
// by lane.

#include <time.h>

#include "tests/driver/ptx/lane_arithmetic.h"
#include "tests/driver/ptx/lane_loop.h"

namespace lull::ptx {
namespace {

inline constexpr u64 kNoLimit = ~u64{0};

struct Generic {
  static constexpr bool kShifts = false;  // whether place() depends on the lane
  static u64 limit(const Frame&) { return kNoLimit; }
  static std::byte* place(const Frame&, std::size_t, u64 address) { return reinterpret_cast<std::byte*>(address); }
};
struct Shared {
  static constexpr bool kShifts = false;
  static u64 limit(const Frame& frame) { return frame.shared_bytes; }
  static std::byte* place(const Frame& frame, std::size_t, u64 address) { return frame.shared + address; }
};
struct Local {
  static constexpr bool kShifts = true;
  static u64 limit(const Frame& frame) { return frame.local_bytes; }
  static std::byte* place(const Frame& frame, std::size_t lane, u64 address) {
    return frame.local + lane * frame.local_bytes + address;
  }
};

enum class Reach : u8 { fault, neighbours, scattered };

// Checks every active lane's address before any memory is touched.
template <class Space, unsigned bytes>
Reach survey(Frame& frame, const u64* address, u64 offset) {
  u64 misaligned = 0, beyond = 0, apart = 0;
  const u64 limit = Space::limit(frame);
  const u64 last = limit - bytes;  // if limit < bytes, nothing fits
  if (frame.list != nullptr) {
    for (std::size_t k = 0; k < frame.count; ++k) {
      const u64 place = address[frame.list[k]] + offset;
      misaligned |= place & (bytes - 1);
      if (limit != kNoLimit) beyond |= place > last ? 1U : 0U;
    }
    apart = 1;
  } else {
    const u64 start = address[frame.first] + offset;
    for (std::size_t k = 0; k < frame.count; ++k) {
      const u64 place = address[frame.first + k] + offset;
      misaligned |= place & (bytes - 1);
      apart |= place ^ (start + k * bytes);
      if (limit != kNoLimit) beyond |= place > last ? 1U : 0U;
    }
  }
  if (misaligned != 0) frame.fault = Outcome::misaligned;
  if (limit != kNoLimit && (beyond != 0 || limit < bytes)) frame.fault = Outcome::bad_address;
  if (frame.fault != Outcome::ok) return Reach::fault;
  return apart == 0 && !Space::kShifts ? Reach::neighbours : Reach::scattered;
}

struct Plain {
  template <class T>
  static T load(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  template <class T>
  static void store(std::byte* to, T value) {
    std::memcpy(to, &value, sizeof value);
  }
};
struct Volatile {  // and relaxed, acquire, release: other threads of the host look at the same words
  template <class T>
  static T load(const std::byte* from) {
    return __atomic_load_n(reinterpret_cast<const T*>(from), __ATOMIC_ACQUIRE);
  }
  template <class T>
  static void store(std::byte* to, T value) {
    __atomic_store_n(reinterpret_cast<T*>(to), value, __ATOMIC_RELEASE);
  }
};

template <class A>
inline constexpr bool kPlain = false;
template <>
inline constexpr bool kPlain<Plain> = true;

template <class Space, class T, unsigned words, class Access>
void load(Frame& frame, const Instruction& in) {
  const u64* const address = row<u64>(frame, in.row[4]);
  const u64 offset = static_cast<u64>(in.immediate);
  const Reach reach = survey<Space, sizeof(T) * words>(frame, address, offset);
  if (reach == Reach::fault) return;
  T* d[words];
  for (unsigned w = 0; w < words; ++w) d[w] = row<T>(frame, in.row[w]);
  if (kPlain<Access> && reach == Reach::neighbours) {
    const std::byte* const from = Space::place(frame, 0, address[frame.first] + offset);
    if constexpr (words == 1) {
      std::memcpy(d[0] + frame.first, from, frame.count * sizeof(T));
      return;
    }
    const std::size_t first = frame.first, count = frame.count;
    LULL_LANES_INDEPENDENT
    for (std::size_t k = 0; k < count; ++k)
      for (unsigned w = 0; w < words; ++w) d[w][first + k] = Plain::load<T>(from + (k * words + w) * sizeof(T));
    return;
  }
  each_lane_in_order(frame, [&](std::size_t lane) {
    const std::byte* const from = Space::place(frame, lane, address[lane] + offset);
    T value[words];  // first all words, since a destination may be the address itself
    for (unsigned w = 0; w < words; ++w) value[w] = Access::template load<T>(from + w * sizeof(T));
    for (unsigned w = 0; w < words; ++w) d[w][lane] = value[w];
  });
}

template <class Space, class T, unsigned words, class Access>
void store(Frame& frame, const Instruction& in) {
  const u64* const address = row<u64>(frame, in.row[4]);
  const u64 offset = static_cast<u64>(in.immediate);
  const Reach reach = survey<Space, sizeof(T) * words>(frame, address, offset);
  if (reach == Reach::fault) return;
  const T* s[words];
  for (unsigned w = 0; w < words; ++w) s[w] = row<T>(frame, in.row[w]);
  if (kPlain<Access> && reach == Reach::neighbours) {
    std::byte* const to = Space::place(frame, 0, address[frame.first] + offset);
    if constexpr (words == 1) {
      std::memcpy(to, s[0] + frame.first, frame.count * sizeof(T));
      return;
    }
    const std::size_t first = frame.first, count = frame.count;
    LULL_LANES_INDEPENDENT
    for (std::size_t k = 0; k < count; ++k)
      for (unsigned w = 0; w < words; ++w) Plain::store(to + (k * words + w) * sizeof(T), s[w][first + k]);
    return;
  }
  each_lane_in_order(frame, [&](std::size_t lane) {
    std::byte* const to = Space::place(frame, lane, address[lane] + offset);
    for (unsigned w = 0; w < words; ++w) Access::store(to + w * sizeof(T), s[w][lane]);
  });
}

template <class T>
void load_parameter(Frame& frame, const Instruction& in) {
  const T value = Plain::load<T>(frame.parameters + in.immediate);
  T* const d = row<T>(frame, in.row[0]);
  each_lane(frame, [=](std::size_t i) { d[i] = value; });
}

template <class F>
struct Exchanging {  // an operation that the processor lacks, by compare and exchange
  template <class T>
  static T apply(T* place, T b, T) {
    using Word = std::conditional_t<sizeof(T) == 4, u32, u64>;
    auto* const word = reinterpret_cast<Word*>(place);
    Word old_word = __atomic_load_n(word, __ATOMIC_RELAXED);
    for (;;) {
      const T old = Plain::load<T>(reinterpret_cast<const std::byte*>(&old_word));
      const T wanted = F::of(old, b);
      Word new_word;
      std::memcpy(&new_word, &wanted, sizeof new_word);
      if (__atomic_compare_exchange_n(word, &old_word, new_word, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return old;
    }
  }
};
struct AtomicAdd {
  template <class T>
  static T apply(T* place, T b, T c) {
    if constexpr (std::is_floating_point_v<T>)
      return Exchanging<Add>::apply(place, b, c);
    else
      return __atomic_fetch_add(place, b, __ATOMIC_SEQ_CST);
  }
};
using AtomicMinimum = Exchanging<Minimum>;
using AtomicMaximum = Exchanging<Maximum>;
struct AtomicAnd {
  template <class T>
  static T apply(T* place, T b, T) {
    return __atomic_fetch_and(place, b, __ATOMIC_SEQ_CST);
  }
};
struct AtomicOr {
  template <class T>
  static T apply(T* place, T b, T) {
    return __atomic_fetch_or(place, b, __ATOMIC_SEQ_CST);
  }
};
struct AtomicXor {
  template <class T>
  static T apply(T* place, T b, T) {
    return __atomic_fetch_xor(place, b, __ATOMIC_SEQ_CST);
  }
};
struct AtomicExchange {
  template <class T>
  static T apply(T* place, T b, T) {
    return __atomic_exchange_n(place, b, __ATOMIC_SEQ_CST);
  }
};
struct AtomicCompareSwap {
  template <class T>
  static T apply(T* place, T b, T c) {
    T expected = b;
    (void)__atomic_compare_exchange_n(place, &expected, c, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;  // the old value, whether it was exchanged or not
  }
};
struct IncrementUpTo {
  static u32 of(u32 old, u32 bound) { return old >= bound ? 0U : old + 1U; }
};
struct DecrementFrom {
  static u32 of(u32 old, u32 bound) { return old == 0 || old > bound ? bound : old - 1U; }
};
using AtomicIncrement = Exchanging<IncrementUpTo>;
using AtomicDecrement = Exchanging<DecrementFrom>;

// Rows: 0 the old value, 2 and 3 the operands, 4 the address. In the order of the lanes, so that sums of reals repeat.
template <class Space, class T, class F>
void atomic(Frame& frame, const Instruction& in) {
  const u64* const address = row<u64>(frame, in.row[4]);
  const u64 offset = static_cast<u64>(in.immediate);
  if (survey<Space, sizeof(T)>(frame, address, offset) == Reach::fault) return;
  T* const d = row<T>(frame, in.row[0]);
  const T* const b = row<T>(frame, in.row[2]);
  const T* const c = row<T>(frame, in.row[3]);
  each_lane_in_order(frame, [&](std::size_t lane) {
    d[lane] =
        F::template apply<T>(reinterpret_cast<T*>(Space::place(frame, lane, address[lane] + offset)), b[lane], c[lane]);
  });
}

template <class Space>
void to_generic(Frame& frame, const Instruction& in) {
  u64* const d = row<u64>(frame, in.row[0]);
  const u64* const a = row<u64>(frame, in.row[1]);
  each_lane_in_order(frame, [&](std::size_t i) { d[i] = reinterpret_cast<u64>(Space::place(frame, i, 0)) + a[i]; });
}

template <class Space>
void from_generic(Frame& frame, const Instruction& in) {
  u64* const d = row<u64>(frame, in.row[0]);
  const u64* const a = row<u64>(frame, in.row[1]);
  each_lane_in_order(frame, [&](std::size_t i) { d[i] = a[i] - reinterpret_cast<u64>(Space::place(frame, i, 0)); });
}

// Nanoseconds of CLOCK_MONOTONIC: %globaltimer and, for want of cycles, the clocks.
template <class T>
void read_clock(Frame& frame, const Instruction& in) {
  timespec now{};
  (void)clock_gettime(CLOCK_MONOTONIC, &now);  // cannot fail: the clock exists on every Linux
  const u64 now_ns = static_cast<u64>(now.tv_sec) * 1'000'000'000U + static_cast<u64>(now.tv_nsec);
  T* const d = row<T>(frame, in.row[0]);
  each_lane(frame, [=](std::size_t i) { d[i] = static_cast<T>(now_ns); });
}

void fence(Frame&, const Instruction&) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// The longest wish of the active lanes, at most a millisecond, as on a GPU.
void nap(Frame& frame, const Instruction& in) {
  const u32* const a = row<u32>(frame, in.row[1]);
  u32 longest_ns = 0;
  each_lane_in_order(frame, [&](std::size_t i) { longest_ns = Maximum::of(longest_ns, a[i]); });
  const timespec wish{0, Minimum::of<s64>(longest_ns, 1'000'000)};
  (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, nullptr);  // waking early is allowed
}

}  // namespace
}  // namespace lull::ptx
