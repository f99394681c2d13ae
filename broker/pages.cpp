#include "broker/pages.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <utility>

namespace lull {
namespace {

std::uint64_t load(const Word& word) {
  return word.load(std::memory_order_acquire);
}  // pairs with the shim's release stores

}  // namespace

void DownWriter::gate(unsigned slot, GateWord word) { store(page_->gpu[slot].gate, pack(word)); }
void DownWriter::quota(unsigned slot, policy::Bytes bytes) { store(page_->gpu[slot].quota_plus_1, pack_limit(bytes)); }
void DownWriter::admit(unsigned slot, std::optional<policy::Bytes> bytes) {
  store(page_->gpu[slot].admit_plus_1, pack_limit(bytes));
}
void DownWriter::piece(unsigned slot, policy::Bytes bytes) { store(page_->gpu[slot].piece_bytes, bytes); }
void DownWriter::drain_limit_us(unsigned slot, std::uint32_t us) { store(page_->gpu[slot].drain_limit_us, us); }
void DownWriter::reason(unsigned slot, Reason reason) {
  store(page_->gpu[slot].reason, static_cast<std::uint32_t>(reason));
}
void DownWriter::native_room(unsigned slot, policy::Bytes bytes) {
  store(page_->gpu[slot].native_room_plus_1, pack_limit(bytes));
}
void DownWriter::native_refused(unsigned slot, policy::Bytes bytes) { store(page_->gpu[slot].native_refused, bytes); }
void DownWriter::backing_limit(policy::Bytes bytes) {
  if (std::exchange(backing_limit_, bytes) != bytes) store(page_->backing_limit_plus_1, pack_limit(bytes));
}
void DownWriter::park(policy::Bytes bytes, policy::Bytes changing) {
  if (std::exchange(park_changing_, changing) != changing) store(page_->park_changing_bytes, changing);
  if (std::exchange(park_, bytes) != bytes) store(page_->park_bytes, bytes);
}
void DownWriter::restarting() { store(page_->restarting, 1u); }

void DownWriter::flush() {
  if (!dirty_) return;
  dirty_ = false;
  page_->wake.store(++wake_, std::memory_order_release);
  (void)::syscall(SYS_futex, &page_->wake, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);  // waking nobody is fine
}

Result<UpWords> read_up(const UpGpu& up, const UpBounds& bounds) {
  UpWords words;
  const auto gate = parse_gate(load(up.seen_gate));
  if (!gate || gate->generation > bounds.generation) return Error{"seen_gate"};
  words.seen_gate = *gate;
  words.seen_quota_plus_1 = load(up.seen_quota_plus_1);
  const auto phase = parse_phase(load(up.phase));
  if (!phase || phase->generation > bounds.generation) return Error{"phase"};
  words.phase = *phase;
  words.resident = load(up.resident);
  if (words.resident > bounds.card) return Error{"resident"};
  words.needed = load(up.needed);
  if (words.needed > bounds.card) return Error{"needed"};  // an honest shim refuses what the card could never hold
  words.native = load(up.native);
  if (words.native > bounds.card) return Error{"native"};
  words.native_wanted = load(up.native_wanted);
  if (words.native_wanted > bounds.card) return Error{"native_wanted"};
  words.wants = load(up.wants);
  words.interrupted = load(up.interrupted);
  words.submissions = load(up.submissions);
  words.evicted = load(up.evicted_bytes);
  words.restored = load(up.restored_bytes);
  words.refused = load(up.refused_bytes);
  words.first_pass = load(up.first_pass_ns);
  if (words.first_pass > bounds.now + policy::second) return Error{"first_pass_ns"};
  return words;
}

}  // namespace lull
