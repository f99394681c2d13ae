#include "broker/spills.h"

#include <fcntl.h>

#include <algorithm>

#include "broker/log.h"
#include "broker/units.h"
#include "protocol/socket.h"

namespace lull {
namespace {

using policy::Bytes;
using policy::Time;
using Stage = OnDisk::Stage;
using Owed = OnDisk::Owed;
using Kind = SpillJob::Kind;

constexpr Time retry_after_failure = 5 * policy::second;  // or after there was no room for it
constexpr Time clean_first = policy::second;              // for so long only what does not change is asked for
constexpr unsigned most_tries = 3;  // to get an arena back, before the client is told that it is lost

bool understands(const Client& client) { return client.hello().minor >= 2; }

Fd again(const Fd& fd) { return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)); }

SpillJob job_of(Kind kind, const Client& client, const Lent::Arena& arena) {
  SpillJob job;
  job.kind = kind;
  job.key = {client.who().id, arena.number, arena.disk.turn};
  job.memory = again(arena.fd);
  if (arena.disk.file) job.file = again(arena.disk.file);
  job.bytes = arena.bytes;
  job.sum = arena.disk.sum;
  return job;
}

}  // namespace

Spills::Spills(Reception& reception, const Config& config, const std::string& state_dir)
    : reception_(reception), config_(config) {
  if (config.spill_path.empty()) return;
  if (const auto problem = check_spill_directory(config.spill_path)) {
    error_ = *problem;
    log::error("no spill why=\"{}\"", error_);
    return;
  }
  if (!state_dir.empty()) record_path_ = state_dir + "/spill-writes";
  if (record_path_.empty() && config.spill_daily_write_bytes > 0)
    log::warning("spill_daily_write_bytes needs a state directory; nothing that changes is written");
  if (!record_path_.empty()) budget_ = WriteBudget(read_record(record_path_), today());
  spiller_ = std::make_unique<Spiller>(config.spill_path, record_path_);
}

Bytes Spills::budget_left() const {
  return record_path_.empty() ? 0 : budget_.left(config_.spill_daily_write_bytes, today());
}

Bytes Spills::room() const {
  if (!on()) return 0;
  return std::min(config_.spill_bytes, stored_ + budget_left());
}

void Spills::on_step(Client& client, const Spill& spill, Time now) {
  Arena* arena = client.lent.find(spill.number);
  if (!arena || arena->bytes != spill.bytes || !on()) {  // nothing of ours will touch it
    auto message = make_message<Filled>();
    message.number = spill.number;
    message.turn = spill.turn;
    (void)send_message(client.socket(), message);
    return;
  }
  const auto step = static_cast<SpillStep>(spill.step);
  if (step == SpillStep::parked) return parked(client, *arena, spill, now);
  if (spill.turn != arena->disk.turn) return;
  if (step == SpillStep::kept) kept(client, *arena);
  if (step == SpillStep::recalled) recalled(client, *arena);
  if (step == SpillStep::resumed && arena->disk.stage == Stage::back) arena->disk.stage = Stage::memory;
}

void Spills::parked(Client& client, Arena& arena, const Spill& spill, Time now) {
  OnDisk& disk = arena.disk;
  if (disk.stage != Stage::memory && disk.stage != Stage::offered) return;
  disk.turn = spill.turn;
  disk.changing = spill.changing;
  const Bytes left = budget_left(), changing = disk.file ? 0 : spill.changing;
  if (client.park_wish == 0) return give_back(client, arena);
  if (now < not_before_ || changing > left || (!disk.file && !make_room(arena.bytes, arena))) {
    not_before_ = std::max(not_before_, now + retry_after_failure);
    return give_back(client, arena);
  }
  auto job = job_of(Kind::save, client, arena);
  job.order = {arena.bytes, static_cast<bool>(disk.file), disk.file ? left : 0};
  job.reserved = disk.file ? std::min(left, arena.bytes) : changing;
  job.order.most_rewritten = disk.file ? job.reserved : 0;
  if (job.reserved > 0) {
    budget_.take(job.reserved, today());
    job.record = budget_.record();
  }
  disk.stage = Stage::saving;
  spiller_->add(std::move(job));
  recount();
}

void Spills::kept(Client& client, Arena& arena) {
  if (arena.disk.stage != Stage::offered) return;
  arena.disk.stage = Stage::away;
  arena.disk.tries = 0;
  arena.disk.lost = false;
  spiller_->add(job_of(Kind::punch, client, arena));
  recount();
}

void Spills::recalled(Client& client, Arena& arena) {
  OnDisk& disk = arena.disk;
  switch (disk.stage) {
    case Stage::saving:
      spiller_->cancel({client.who().id, arena.number, disk.turn});
      drop_file(arena);  // half of it may have been written anew
      return give_back(client, arena);
    case Stage::memory:
    case Stage::offered: return give_back(client, arena);
    case Stage::away: return fill(client, arena);
    case Stage::filling: return;
    case Stage::back: disk.owed = Owed::filled; return settle_debts(client);
  }
}

void Spills::come_back(Client& client) {
  client.lent.for_each([&](Arena& arena) {
    if (arena.disk.stage == Stage::away && !arena.disk.lost) fill(client, arena);
  });
  settle_debts(client);
}

void Spills::fill(Client& client, Arena& arena) {
  arena.disk.stage = Stage::filling;
  arena.disk.lost = false;
  spiller_->add(job_of(Kind::fill, client, arena));
  recount();
}

// Its memory holds its content, or that cannot be had.
void Spills::give_back(Client& client, Arena& arena, bool lost) {
  arena.disk.stage = lost ? Stage::away : arena.disk.stage == Stage::filling ? Stage::back : Stage::memory;
  arena.disk.owed = lost ? Owed::lost : Owed::filled;
  arena.disk.reader.reset();
  settle_debts(client);
  recount();
}

bool Spills::send(Client& client, Arena& arena) {
  OnDisk& disk = arena.disk;
  if (disk.owed == Owed::spilled) {
    auto message = make_message<Spilled>();
    message.number = arena.number;
    message.bytes = arena.bytes;
    message.sum[0] = disk.sum.low;
    message.sum[1] = disk.sum.high;
    message.turn = disk.turn;
    const int fds[] = {disk.reader.get()};
    return static_cast<bool>(send_message(client.socket(), message, fds));
  }
  auto message = make_message<Filled>();
  message.number = arena.number;
  message.turn = disk.turn;
  message.lost = disk.owed == Owed::lost;
  return static_cast<bool>(send_message(client.socket(), message));
}

// A full socket: at the next tick; a broken one: its hang-up follows.
void Spills::settle_debts(Client& client) {
  client.lent.for_each([&](Arena& arena) {
    if (arena.disk.owed == Owed::nothing || !send(client, arena)) return;
    arena.disk.owed = Owed::nothing;
    arena.disk.reader.reset();
  });
}

bool Spills::on_results(Time now) {
  auto results = spiller_->take();
  for (auto& result : results) finish(std::move(result), now);
  recount();
  return !results.empty();
}

// What has been written of what changes is known only of a save that has ended well; else all of it counts.
void Spills::refund(const SpillResult& result) {
  const Bytes written = !result.begun ? 0 : result.done && result.known ? result.saved.rewritten : result.reserved;
  budget_.give_back(result.reserved - std::min(written, result.reserved));
}

void Spills::finish(SpillResult result, Time now) {
  if (result.kind == Kind::save) refund(result);
  Client* client = reception_.find(result.key.client);
  Arena* arena = client ? client->lent.find(result.key.number) : nullptr;
  const bool present = arena && arena->disk.turn == result.key.turn;
  if (!result.done && !result.cancelled) {
    ++failures_;
    error_ = result.why;
  }
  if (present && result.kind == Kind::save) saved(*client, *arena, result, now);
  if (present && result.kind == Kind::fill) filled(*client, *arena, result);
  if (present && result.kind == Kind::punch && !result.done)
    log::error("spill client={} why=\"{}\"; the memory stays taken", client->who().id, result.why);
  if (result.file) garbage_.push_back({std::move(result.file), result.bytes});  // nobody has taken it
}

void Spills::saved(Client& client, Arena& arena, SpillResult& result, Time now) {
  OnDisk& disk = arena.disk;
  if (disk.stage != Stage::saving) return;  // called back meanwhile
  if (!result.done) {
    drop_file(arena);
    if (!result.cancelled) {
      not_before_ = now + retry_after_failure;
      log::warning("spill client={} bytes={} why=\"{}\"; it stays in memory", client.who().id, show_bytes(arena.bytes),
                   result.why);
    }
    return give_back(client, arena);
  }
  ++saves_;
  last_saved_ = now;
  log::info("spill client={} bytes={} written={}", client.who().id, show_bytes(arena.bytes),
            show_bytes(result.saved.written));
  disk.file = Fd();
  disk.file = std::move(result.file);
  disk.sum = result.saved.sum;
  disk.stage = Stage::offered;
  disk.reader = std::move(result.reader);
  disk.owed = Owed::spilled;
  settle_debts(client);
}

void Spills::filled(Client& client, Arena& arena, const SpillResult& result) {
  if (arena.disk.stage != Stage::filling) return;
  if (result.done) {
    ++fills_;
    log::info("fill client={} bytes={}", client.who().id, show_bytes(arena.bytes));
    return give_back(client, arena);
  }
  if (++arena.disk.tries < most_tries) return fill(client, arena);
  arena.disk.tries = 0;
  arena.disk.lost = true;
  ++lost_;
  log::error("fill client={} pid={} bytes={} why=\"{}\"; what is there stays, and is read again when it is needed",
             client.who().id, client.who().pid, show_bytes(arena.bytes), result.why);
  give_back(client, arena, true);
}

// First what does not change, of whoever has it; what changes only if that has not helped for a while.
void Spills::plan(Bytes need, const std::vector<Client*>& idle, Time now) {
  if (!on()) return;
  if (need == 0 || now < not_before_) need_since_ = 0;
  if (need > 0 && need_since_ == 0) need_since_ = now;
  const bool stalled = saving_ == 0 && now - std::max(need_since_, last_saved_) >= clean_first;
  const Bytes changing = need > 0 && stalled ? budget_left() : 0;
  reception_.for_each([&](Client& client) {
    if (!understands(client)) return;
    const bool asked = need > 0 && now >= not_before_ && std::find(idle.begin(), idle.end(), &client) != idle.end();
    Bytes parked = 0, parked_changing = 0;
    client.lent.for_each([&](const Arena& arena) {
      if (arena.disk.stage == Stage::memory) return;
      parked += arena.bytes;
      parked_changing += arena.disk.changing;
    });
    client.park_wish = asked ? parked + need : 0;
    client.down().park(client.park_wish, asked ? parked_changing + changing : 0);
    client.down().flush();
    settle_debts(client);
  });
}

// Files of arenas whose content is in memory only save writing it again.
bool Spills::make_room(Bytes bytes, const Arena& except) {
  recount();
  if (bytes > config_.spill_bytes) return false;
  reception_.for_each_process([&](Client& client) {
    client.lent.for_each([&](Arena& arena) {
      if (stored_ + bytes <= config_.spill_bytes || &arena == &except) return;
      if (arena.disk.stage != Stage::memory || !arena.disk.file) return;
      drop_file(arena);
      stored_ -= arena.bytes;
    });
  });
  return stored_ + bytes <= config_.spill_bytes;
}

void Spills::drop_file(Arena& arena) {
  if (arena.disk.file) garbage_.push_back({std::move(arena.disk.file), arena.bytes});
}

void Spills::recount() {
  away_ = stored_ = 0;
  saving_ = 0;
  reception_.for_each_process([&](Client& client) {
    away_ += client.lent.away_bytes();
    client.lent.for_each([&](Arena& arena) {
      const bool file_to_be = arena.disk.stage == Stage::saving;
      stored_ += arena.disk.file || file_to_be ? arena.bytes : 0;
      saving_ += file_to_be || arena.disk.stage == Stage::offered;
    });
  });
}

Spills::Report Spills::report() const {
  Report r;
  r.path = config_.spill_path;
  r.error = error_;
  r.on = on();
  if (!on()) return r;
  r.direct = spiller_->direct();
  r.capacity = config_.spill_bytes;
  r.stored = stored_;
  r.away = away_;
  r.written_today = budget_.used(today());
  r.daily = config_.spill_daily_write_bytes;
  r.saves = saves_;
  r.fills = fills_;
  r.failures = failures_;
  r.lost = lost_;
  return r;
}

}  // namespace lull
