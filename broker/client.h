// broker/client.h: one connected process: its socket, its process descriptor, its two pages and its doorbell.
//
//   connected ──hello──▶ welcomed ──attach (a GPU)──▶ … ──hang-up──▶ gone from us ──process ended──▶ its memory is free
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "broker/backing.h"
#include "broker/identity.h"
#include "broker/lent.h"
#include "broker/loop.h"
#include "broker/orders.h"
#include "broker/pages.h"
#include "broker/seat.h"
#include "protocol/fd.h"
#include "protocol/memory.h"
#include "protocol/messages.h"
#include "protocol/result.h"

namespace lull {

// The processes it runs together with; number 0: none.
struct Gang {
  std::uint32_t number = 0;
  int parent = 0;  // the one that started them, where they have not been named in the configuration
};

class Client {
 public:
  Client(Fd socket, Fd pidfd, const Peer& peer, Class klass, policy::ClientId id, policy::Time now);

  Status welcome(const Hello&);  // makes and sends the pages
  void refuse(const char* sentence, std::uint32_t retry_ms);
  void hang_up(policy::Time now);  // the socket, the doorbell and our view of the pages go; the process may live on

  Lent lent;         // host memory to evict to
  BackingNeed need;  // of it
  Gang gang;
  OwnersWord order;
  policy::Bytes park_wish = 0;  // as last asked for; who parks unasked is given its arena back
  void send_arenas() {
    if (connected()) lent.send(socket_.get());
  }

  bool attach(unsigned slot, std::size_t card);  // false: slot or card has been used before
  std::optional<std::size_t> card_at(unsigned slot) const { return cards_[slot]; }
  const std::array<std::optional<std::size_t>, max_gpus>& cards() const { return cards_; }

  bool welcomed() const { return welcomed_; }
  bool connected() const { return static_cast<bool>(socket_); }
  const Who& who() const { return who_; }
  const Hello& hello() const { return hello_; }
  TenantKey tenant() const { return {who_.uid, who_.klass, who_.tenant}; }
  policy::Time since() const { return since_; }
  policy::Time hung_up() const { return hung_up_; }
  policy::Bytes backing() const { return lent.bytes(); }
  int socket() const { return socket_.get(); }
  int pidfd() const { return pidfd_.get(); }
  int doorbell() const { return doorbell_.get(); }
  DownWriter& down() { return *down_writer_; }
  const UpGpu& up(unsigned slot) const { return up_.mapping.as<UpPage>()->gpu[slot]; }

  // Floods: so many events in one window of 100 ms; false once there are more.
  bool count_message() { return ++messages_ <= 64; }
  void uncount_message() { --messages_; }  // it was welcome
  bool count_ring() { return ++rings_ <= 64; }
  bool next_window();  // true: rings had been too many in the last one

  // Why it will be refused when it says hello: answered earlier, it might find the answer only after an error.
  struct Refusal {
    std::string sentence;
    std::uint32_t retry_ms;
  };
  std::optional<Refusal> refusal;
  std::vector<Attach> waiting_attaches;  // until other programs of its user have ended
  bool told_of_reserve = false;
  Source socket_source, pidfd_source, doorbell_source;

 private:
  Fd socket_, pidfd_, doorbell_;
  SharedMemory down_, up_;
  std::optional<DownWriter> down_writer_;
  Who who_;
  Hello hello_{};
  std::array<std::optional<std::size_t>, max_gpus> cards_{};
  policy::Time since_, hung_up_ = 0;
  unsigned messages_ = 0, rings_ = 0;
  bool welcomed_ = false;
};

}  // namespace lull
