// broker/control.h: the socket of lull(1): one JSON request a line, one JSON answer a line; after {"cmd":"events"} a
// line for each event. Peers may be other users (group lull): what they send is bounded and parsed, and who does not
// read what it asked for is cut off.
#pragma once
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "broker/event_log.h"
#include "broker/loop.h"
#include "broker/policy.h"
#include "protocol/fd.h"

namespace lull {

nlohmann::json problem(const std::string& text);  // an answer: {"error": text}

class Control {
 public:
  using Command = std::function<nlohmann::json(const nlohmann::json& request, unsigned uid)>;
  using Commands = std::map<std::string, Command, std::less<>>;
  Control(Loop&, EventLog&, Commands);
  lull::Status open(int listener);

 private:
  struct Peer {
    Fd socket;
    unsigned uid = 0;
    Source source;
    std::string in, out;
    bool following = false, gone = false, last = false;  // last: close when everything is written
  };
  void accept_from(int listener);
  void on_ready(Peer&, std::uint32_t events);
  void read(Peer&);
  void answer(Peer&, std::string_view line);
  void tell_events(Peer&, const nlohmann::json& request);
  void say(Peer&, const std::string& line);
  void write(Peer&);
  void leave(Peer&);

  Loop& loop_;
  EventLog& events_;
  Commands commands_;
  Source listener_, gravedigger_;
  std::list<std::unique_ptr<Peer>> peers_;
};

}  // namespace lull
