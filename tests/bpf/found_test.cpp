// Services found by other ways than their own listening sockets: through a gateway, by cgroup, by where their work
// comes from.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>

#include "bpf/cgroup_root.h"
#include "tests/bpf/watching.h"

using namespace lull;
using namespace lull::test;

namespace {

// One line for the shell, inside the network namespace of a process.
void in_network_of(const Process& process, const std::string& command) {
  const auto line = "nsenter -t " + std::to_string(process.pid()) + " -n " + command;
  REQUIRE_MESSAGE(std::system(line.c_str()) == 0, line);
}

// A process in a network of its own that does nothing.
struct Network {
  Network()
      : process([this] {
          enter_own_network();
          ready.put(1);
          for (;;) ::pause();
        }) {
    ready.get();
  }
  Channel ready;
  Process process;
};

// client (10.91.1.2) ── 10.91.1.1 gateway 10.91.2.1 ── service (10.91.2.2), and the same in fd00:91:*::; the gateway
// hands its port 8080 on to the service's.
void join(const Process& client, const Process& gateway, const Process& service, std::uint16_t port) {
  const auto link = [](const Process& one, const std::string& name, const Process& other, const std::string& peer) {
    in_network_of(one,
                  "ip link add " + name + " type veth peer name " + peer + " netns " + std::to_string(other.pid()));
  };
  const auto address = [](const Process& where, const std::string& name, const std::string& tail) {
    in_network_of(where, "ip addr add 10.91." + tail + "/24 dev " + name);
    std::string v6 = tail;
    v6.replace(1, 1, "::");
    in_network_of(where, "ip addr add fd00:91:" + v6 + "/64 dev " + name + " nodad");
    in_network_of(where, "ip link set " + name + " up");
  };
  link(gateway, "outer", client, "way");
  link(gateway, "inner", service, "way");
  address(client, "way", "1.2");
  address(gateway, "outer", "1.1");
  address(gateway, "inner", "2.1");
  address(service, "way", "2.2");
  in_network_of(service, "ip route add default via 10.91.2.1");
  in_network_of(service, "ip -6 route add default via fd00:91:2::1");
  in_network_of(client, "ip route add default via 10.91.1.1");
  in_network_of(gateway, "sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
  const auto to = std::to_string(port);
  in_network_of(gateway,
                "nft 'add table inet lull; add chain inet lull in { type nat hook prerouting priority -100; };"
                "add rule inet lull in ip daddr 10.91.1.1 tcp dport 8080 dnat ip to 10.91.2.2:" +
                    to +
                    ";"
                    "add rule inet lull in ip6 daddr fd00:91:1::1 tcp dport 8080 dnat ip6 to [fd00:91:2::2]:" +
                    to + "'");
}

bool have_tools() {
  return std::system("command -v ip nft nsenter sysctl >/dev/null") == 0 &&
         std::system("unshare -n nft list tables >/dev/null 2>&1") == 0;
}

// A cgroup of the test's own.
class Cgroup {
 public:
  Cgroup() : root_(open_cgroup_root()), name_("lull-test-" + std::to_string(::getpid())) {
    REQUIRE(::mkdirat(root_.get(), name_.c_str(), 0755) == 0);
  }
  ~Cgroup() {
    (void)eventually([this] { return ::unlinkat(root_.get(), name_.c_str(), AT_REMOVEDIR) == 0; });
  }
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;
  std::uint64_t id() const {
    struct stat status;
    REQUIRE(::fstatat(root_.get(), name_.c_str(), &status, 0) == 0);
    return status.st_ino;
  }
  void enter() const {
    const Handle list(::openat(root_.get(), (name_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    const auto pid = std::to_string(::getpid());
    if (::write(list.get(), pid.data(), pid.size()) < 0) ::_exit(1);
  }

 private:
  Handle root_;
  std::string name_;
};

// Makes a server in the cgroup when told to, and asks it once.
struct Member {
  Member(const Cgroup& cgroup)
      : process([&] {
          cgroup.enter();
          ready.put(1);
          go.get();
          const Server server;
          const Connection c(server);
          c.ask();
          asked.put(1);
          for (;;) ::pause();
        }) {
    ready.get();
  }
  Channel ready, go, asked;
  Process process;
};

}  // namespace

TEST_CASE("a container behind a gateway that translates addresses is seen, over IPv4 and IPv6") {
  if (!have_tools()) {
    MESSAGE("not tried: it needs ip, nft, nsenter and sysctl, and nft must work in a network of its own");
    return;
  }
  Watching w;
  Channel ready;
  const Process service([&] {
    enter_own_network();
    const Server server(Ip::v4_to_dual_stack);
    ready.put(server.port);
    for (;;) {
      const Handle c = accept_from(server);
      receive_bytes(c);
      send_bytes(c);
    }
  });
  const auto port = static_cast<std::uint16_t>(ready.get());
  const Network gateway;
  Channel go, done;
  const Process client([&] {
    enter_own_network();
    ready.put(1);
    for (const char* address : {"10.91.1.1", "fd00:91:1::1"}) {
      go.get();
      const Handle c = connect_to(address, 8080);
      send_bytes(c);
      receive_bytes(c);
      done.put(1);
      go.get();
    }
    for (;;) ::pause();
  });
  ready.get();
  join(client, gateway.process, service, port);
  REQUIRE(w.arrivals->watch(w.service, service.pid()));
  for (std::uint64_t expected = 1; expected <= 2; ++expected) {
    go.put(1);
    done.get();
    CHECK(w.counters().arrivals == expected);
    CHECK(w.counters().waiting == 0);
    go.put(1);
  }
  w.drain();
  for (const Event& event : w.events)
    if (event.kind == EventKind::arrival) CHECK(event.port == port);  // the container's, not the published one
}

TEST_CASE("a process of the service's cgroup is found when it listens, a client of another class is not") {
  Watching w;
  const Cgroup cgroup;
  REQUIRE(w.arrivals->watch_cgroup(w.service, cgroup.id()));
  Member front(cgroup), trainer(cgroup);
  w.arrivals->watch_exit(trainer.process.pid());
  trainer.go.put(1);
  trainer.asked.get();
  CHECK(w.counters().arrivals == 0);
  front.go.put(1);
  front.asked.get();
  CHECK(w.counters().arrivals == 1);
  CHECK(w.arrivals->ports(w.service).size() == 1);
  trainer.process.kill();
  CHECK(w.comes(EventKind::exit));
}

TEST_CASE("a job from a queue is seen on the worker's own connection, made before or after, with and without tracing") {
  for (const auto programs : {Arrivals::Programs::all, Arrivals::Programs::packets_only}) {
    CAPTURE(static_cast<int>(programs));
    Watching w(programs);
    Channel port, told, go;
    const Process queue([&] {
      const Server server;
      port.put(server.port);
      for (;;) {
        const Handle c = accept_from(server);
        receive_bytes(c, 5);
        send_text(c, "$-1\r\n");  // nothing to do
        receive_bytes(c, 5);
        send_text(c, "*2\r\n$4\r\njobs\r\n$4\r\ndo it\r\n");
        receive_bytes(c, 5);
        told.put(1);
        go.get();
      }
    });
    const auto queue_port = static_cast<std::uint16_t>(port.get());
    Handle older = connect_to("127.0.0.1", queue_port);
    REQUIRE(w.arrivals->watch_outgoing(w.service, queue_port));
    REQUIRE(w.arrivals->watch(w.service, ::getpid()));
    for (std::uint64_t turn = 1; turn <= (programs == Arrivals::Programs::all ? 2 : 1); ++turn) {
      const Handle c = turn == 1 ? std::move(older) : connect_to("127.0.0.1", queue_port);
      send_text(c, "BRPOP");
      receive_bytes(c, 5);
      CHECK(w.counters().arrivals == turn - 1);
      send_text(c, "BRPOP");
      receive_bytes(c, 25);
      CHECK(w.counters().arrivals == turn);
      CHECK(w.counters().waiting == 1);
      send_text(c, "LPUSH");
      told.get();
      CHECK(w.counters().waiting == 0);
      go.put(1);
    }
    w.drain();
    for (const Event& event : w.events)
      if (event.kind == EventKind::arrival) CHECK(event.port == queue_port);
  }
}

TEST_CASE("who opens a watched device is named, and so is who has it open already") {
  for (const auto programs : {Arrivals::Programs::all, Arrivals::Programs::packets_only}) {
    CAPTURE(static_cast<int>(programs));
    Watching w(programs);
    Channel opened, go;
    const auto open_it = [&] { return Handle(::open("/dev/zero", O_RDONLY | O_CLOEXEC)); };
    const Process holder([&] {
      const Handle device = open_it();
      opened.put(1);
      for (;;) ::pause();
    });
    opened.get();
    const Process newcomer([&] {
      go.get();
      const Handle device = open_it();
      opened.put(1);
      for (;;) ::pause();
    });
    const auto seen = [&](const Process& process) {
      return eventually([&] {
        w.drain();
        return std::any_of(w.opens.begin(), w.opens.end(), [&](const DeviceOpen& o) {
          return o.tgid == static_cast<std::uint32_t>(process.pid()) && o.major == 1 && o.minor == 5;
        });
      });
    };
    const std::vector<Device> zero{{1, 5}};
    CHECK(w.arrivals->watch_devices(zero) == (programs == Arrivals::Programs::all));
    CHECK(seen(holder));
    go.put(1);
    opened.get();
    if (programs != Arrivals::Programs::all) (void)w.arrivals->watch_devices(zero);
    CHECK(seen(newcomer));
    const auto last = std::find_if(w.opens.rbegin(), w.opens.rend(), [&](const DeviceOpen& o) {
      return o.tgid == static_cast<std::uint32_t>(newcomer.pid());
    });
    CHECK_FALSE(last->client);
    if (programs == Arrivals::Programs::all) CHECK(last->comm.substr(0, 8) == "bpf-test");
  }
}
