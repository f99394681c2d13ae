// broker/pages.h: the broker's side of the two shared pages. It writes the down page and never reads it back; every
// word of the up page is a stranger's and is parsed as it is loaded.
#pragma once
#include <cstdint>
#include <optional>

#include "broker/policy.h"
#include "protocol/page.h"
#include "protocol/result.h"

namespace lull {

class DownWriter {
 public:
  explicit DownWriter(DownPage* page) : page_(page) {}
  void gate(unsigned slot, GateWord);
  void quota(unsigned slot, policy::Bytes);
  void admit(unsigned slot, std::optional<policy::Bytes>);
  void drain_limit_us(unsigned slot, std::uint32_t);
  void piece(unsigned slot, policy::Bytes);
  void reason(unsigned slot, Reason);
  void native_room(unsigned slot, policy::Bytes);
  void native_refused(unsigned slot, policy::Bytes);
  void backing_limit(policy::Bytes);                 // of the client, not of a slot
  void park(policy::Bytes, policy::Bytes changing);  // likewise
  void restarting();
  void flush();  // wakes the shim once, if anything was written since the last time

 private:
  template <class W, class V>
  void store(W& word, V value) {
    word.store(value, std::memory_order_release);  // seen by the shim's acquire loads
    dirty_ = true;
  }
  DownPage* page_;
  std::uint32_t wake_ = 0;
  std::optional<policy::Bytes> backing_limit_;  // as written last
  policy::Bytes park_ = 0, park_changing_ = 0;  // likewise
  bool dirty_ = false;
};

// What one client says of one GPU, parsed.
struct UpWords {
  GateWord seen_gate;
  std::uint64_t seen_quota_plus_1 = 0;
  PhaseWord phase;
  policy::Bytes resident = 0, needed = 0, native = 0, native_wanted = 0;
  std::uint64_t wants = 0, interrupted = 0, submissions = 0;
  policy::Bytes evicted = 0, restored = 0, refused = 0;
  policy::Time first_pass = 0;
  bool operator==(const UpWords&) const = default;
};

// What an honest client cannot say.
struct UpBounds {
  std::uint64_t generation;  // the last one sent
  policy::Bytes card;        // memory of the card
  policy::Time now;
};

// The error names the first word that cannot be true.
Result<UpWords> read_up(const UpGpu&, const UpBounds&);

}  // namespace lull
