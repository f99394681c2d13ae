// broker/reception.h: where clients come in and go: sockets, handshakes, limits, and the end of a process.
// Every peer is a stranger: what it sends is parsed, what it may take is bounded, and who errs is dropped and counted.
#pragma once
#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/client.h"
#include "broker/config.h"
#include "broker/loop.h"
#include "broker/runtime_dir.h"

namespace lull {

// What the reception tells the broker. Called from the event loop; none of these may remove a client.
class Host {
 public:
  virtual ~Host() = default;
  virtual void on_connect() = 0;  // somebody is there: ticks are wanted from now on
  virtual void on_welcome(Client&) = 0;
  virtual Status on_attach(Client&, const Attach&) = 0;    // an error drops the client
  virtual Status on_doorbell(Client&) = 0;                 // likewise
  virtual void on_returned(Client&, const Returned&) = 0;  // an arena has come back
  virtual void on_spill(Client&, const Spill&) = 0;        // a step of an arena on its way to disk or back
  virtual void on_lost(Client&, const char* why) = 0;      // its pages are no longer read after this
  virtual void on_dead(Client&) = 0;                       // its process, and with it its memory, is gone
};

class Reception {
 public:
  Reception(Loop&, const Config&, Host&);
  Status open(const RuntimeDir&);
  void set_config(const Config& config) { config_ = config; }
  void drop(Client&, const char* why);  // for a protocol error; logged once with pid and uid
  void exiting(int pid);                // its last thread is: nothing is to be expected of it any more
  void tick(policy::Time now);          // every 100 ms: late handshakes, ends of floods, unsent arenas
  template <class F>
  void for_each(F&& f) {
    for (auto& [id, client] : clients_)
      if (client->welcomed() && client->connected()) f(*client);
  }
  template <class F>
  void for_each_process(F&& f) const {  // also those that have hung up and live on
    for (const auto& [id, client] : clients_) f(static_cast<const Client&>(*client));
  }
  template <class F>
  void for_each_process(F&& f) {
    for (auto& [id, client] : clients_) f(*client);
  }
  Client* find(policy::ClientId);  // null: not connected
  bool empty() const { return clients_.empty(); }
  std::uint64_t dropped() const { return dropped_; }
  std::vector<Fd> take_closed() { return std::exchange(closed_, {}); }         // likewise to be closed
  std::vector<Garbage> take_garbage() { return std::exchange(garbage_, {}); }  // to be freed elsewhere

 private:
  void accept_from(const ClassSocket&);
  void admit(Fd socket, Class);
  void on_packet(Client&);
  void on_hello(Client&, const Hello&);
  void on_spill(Client&, const Spill&);
  void on_ring(Client&);
  void on_pidfd(Client&);
  void refuse(Client&, const std::string& sentence, std::uint32_t retry_ms);
  void lose(Client&, const char* why);
  void forget(Client&);
  void inherit(Client&);
  void discard(std::vector<Garbage>);
  Status watch(Client&);
  std::size_t count_of(unsigned uid) const;

  Loop& loop_;
  Config config_;
  Host& host_;
  std::vector<Source> listeners_;
  std::map<policy::ClientId, std::unique_ptr<Client>> clients_;
  std::vector<std::unique_ptr<Client>> graveyard_;  // emptied when no handler is running
  Source gravedigger_;
  std::vector<Garbage> garbage_;
  std::vector<Fd> closed_;
  policy::ClientId next_id_ = 1;
  std::uint64_t dropped_ = 0;
};

}  // namespace lull
