// broker/measure.h: how fast a card is, measured by a helper process, so that a driver that hangs or crashes harms
// nobody.
//
// The helper (lulld --measure-card UUID) opens the driver, works on little memory for a second or two and prints what
// it has found, as JSON. Copies are timed by the driver's events, calls as well, so that a simulated card in slow
// motion tells the time it models. The broker reads a bounded answer, waits a bounded time, and believes only what
// parses.
#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "broker/speed.h"
#include "protocol/fd.h"

namespace lull {

// The file in which a card's speed is kept.
class SpeedStore {
 public:
  explicit SpeedStore(std::string directory) : directory_(std::move(directory)) {}  // "": nowhere
  bool open() const { return !directory_.empty(); }
  std::optional<CardSpeed> load(const std::string& uuid, const std::string& driver) const;
  bool save(const StoredSpeed&) const;

 private:
  std::string directory_;
};

class CardMeasurer {
 public:
  struct Answer {
    std::string uuid;
    std::optional<CardSpeed> speed;
    std::string why_not;  // where there is none
    bool kept = false;    // in the store
  };
  CardMeasurer(SpeedStore, std::string driver_version);
  ~CardMeasurer();  // ends a helper, too
  void start(const std::string& uuid);
  void cancel();  // somebody needs the card; there will be an answer without a speed
  bool busy() const;
  int fd() const { return answered_.get(); }
  std::optional<Answer> take();

 private:
  void run();
  Answer ask(const std::string& uuid);
  bool ended(pid_t) const;
  const SpeedStore store_;
  const std::string driver_;
  Fd answered_;
  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::optional<std::string> question_;
  std::optional<Answer> answer_;
  bool busy_ = false, stop_ = false, cancelled_ = false;
  pid_t child_ = 0;
  std::thread thread_;
};

// What the helper runs: writes JSON to `out`, or a sentence that says why not; its exit status.
int measure_card(const std::string& uuid, int out);

}  // namespace lull
