// The packet programs run on crafted frames. The kernel gives such a run a socket of its own with port 0 and
// protocol 0, so that key stands for the service's port here.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/head.h"
#include "bpf/kernel.h"

using namespace lull;

namespace {

constexpr std::uint32_t service = 3;

struct Programs : Arrivals::Kernel {
  Programs() {
    std::string why_not;
    REQUIRE_MESSAGE(load_packets(&why_not), why_not);
    const std::uint32_t no_port = 0, service_plus_1 = service + 1;
    const lull_rule on{1, 0, 0, 0, {}};
    REQUIRE(bpf_map_update_elem(maps.by_port, &no_port, &service_plus_1, BPF_ANY) == 0);
    REQUIRE(bpf_map_update_elem(maps.rules, &service, &on, BPF_ANY) == 0);
    named_ports[0] = 1;
  }
  void set(const lull_rule& rule) const { REQUIRE(bpf_map_update_elem(maps.rules, &service, &rule, BPF_ANY) == 0); }
  void ignore(std::uint8_t method, std::string_view path) const {
    lull_path_key key{};
    key.prefix = static_cast<__u32>(8 * (sizeof(key.service) + sizeof(key.method) + path.size()));
    key.service = service;
    key.method = method;
    std::copy(path.begin(), path.end(), key.path);
    const std::uint8_t verdict = LULL_IS_IGNORED;
    REQUIRE(bpf_map_update_elem(maps.paths, &key, &verdict, BPF_ANY) == 0);
    set(lull_rule{1, 0, 1, 0, {}});
  }
  void ignore_sender(std::initializer_list<std::uint8_t> v4, unsigned bits) const {
    lull_source_key key{};
    key.prefix = LULL_SERVICE_BITS + 96 + bits;
    key.service = service;
    key.address[10] = key.address[11] = 0xff;
    std::copy(v4.begin(), v4.end(), key.address + 12);
    const std::uint8_t verdict = LULL_IS_IGNORED;
    REQUIRE(bpf_map_update_elem(maps.sources, &key, &verdict, BPF_ANY) == 0);
    set(lull_rule{1, 0, 0, 1, {}});
  }
  // What the program returned; every run has a fresh socket, its repetitions share it.
  unsigned run(int program, std::vector<std::uint8_t> frame, int times = 1) const {
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.repeat = times;
    const int error = bpf_prog_test_run_opts(program, &options);
    REQUIRE_MESSAGE(error == 0, std::string(std::strerror(-error)));
    return options.retval;
  }
  std::uint64_t arrivals() const { return services[service].arrivals; }
  std::uint64_t arrivals_of(const std::vector<std::uint8_t>& frame, int times = 1) const {
    const std::uint64_t before = arrivals();
    CHECK(run(ingress, frame, times) == 1);  // never drops
    return arrivals() - before;
  }
};

struct Frame {
  unsigned version = 4;
  std::uint8_t protocol = IPPROTO_TCP;
  std::size_t ip_options = 0, tcp_options = 0, payload = 0;
  std::uint16_t fragment = 0;
  std::uint32_t sequence = 1000;
  std::string_view text = {};  // instead of a payload of zeroes
};

std::vector<std::uint8_t> ip_header(const Frame& f) {
  std::vector<std::uint8_t> ip(f.version == 4 ? 20 + f.ip_options : 40);
  if (f.version == 4) {
    ip[0] = static_cast<std::uint8_t>(0x40 | ip.size() / 4);
    ip[6] = static_cast<std::uint8_t>(f.fragment >> 8);
    ip[7] = static_cast<std::uint8_t>(f.fragment);
    ip[9] = f.protocol;
  } else {
    ip[0] = static_cast<std::uint8_t>(f.version << 4);
    ip[6] = f.protocol;
  }
  return ip;
}

std::vector<std::uint8_t> tcp_segment(const Frame& f) {
  std::vector<std::uint8_t> tcp(20 + f.tcp_options + std::max(f.payload, f.text.size()));
  std::copy(f.text.begin(), f.text.end(), tcp.begin() + static_cast<std::ptrdiff_t>(20 + f.tcp_options));
  const std::uint32_t sequence = htonl(f.sequence);
  std::memcpy(&tcp[4], &sequence, sizeof(sequence));
  tcp[12] = static_cast<std::uint8_t>((20 + f.tcp_options) / 4 << 4);
  tcp[13] = 0x10;  // ACK
  return tcp;
}

std::vector<std::uint8_t> make(const Frame& f) {
  std::vector<std::uint8_t> frame(14);  // Ethernet: two addresses of zeroes and the type
  frame[12] = f.version == 6 ? 0x86 : 0x08;
  frame[13] = f.version == 6 ? 0xdd : 0x00;
  const auto ip = ip_header(f), tcp = tcp_segment(f);
  frame.insert(frame.end(), ip.begin(), ip.end());
  frame.insert(frame.end(), tcp.begin(), tcp.end());
  return frame;
}

}  // namespace

TEST_CASE("bytes in a TCP segment are a request, whatever headers they come behind") {
  const Programs p;
  CHECK(p.arrivals_of(make({.payload = 1})) == 1);
  CHECK(p.arrivals_of(make({.payload = 1400})) == 1);
  CHECK(p.arrivals_of(make({.ip_options = 40, .payload = 1})) == 1);
  CHECK(p.arrivals_of(make({.tcp_options = 40, .payload = 1})) == 1);
  CHECK(p.arrivals_of(make({.ip_options = 40, .tcp_options = 40, .payload = 1})) == 1);
  CHECK(p.arrivals_of(make({.version = 6, .payload = 1})) == 1);
  CHECK(p.arrivals_of(make({.version = 6, .tcp_options = 12, .payload = 1})) == 1);
}

TEST_CASE("a segment without bytes is no request") {
  const Programs p;
  CHECK(p.arrivals_of(make({})) == 0);
  CHECK(p.arrivals_of(make({.ip_options = 40})) == 0);
  CHECK(p.arrivals_of(make({.tcp_options = 40})) == 0);
  CHECK(p.arrivals_of(make({.ip_options = 40, .tcp_options = 40})) == 0);
  CHECK(p.arrivals_of(make({.version = 6})) == 0);
  CHECK(p.arrivals_of(make({.version = 6, .tcp_options = 40})) == 0);
}

TEST_CASE("what is no whole TCP segment is no request") {
  const Programs p;
  CHECK(p.arrivals_of(make({.protocol = IPPROTO_UDP, .payload = 100})) == 0);
  CHECK(p.arrivals_of(make({.protocol = IPPROTO_ICMP, .payload = 100})) == 0);
  CHECK(p.arrivals_of(make({.version = 6, .protocol = IPPROTO_UDP, .payload = 100})) == 0);
  CHECK(p.arrivals_of(make({.version = 6, .protocol = 0, .payload = 100})) == 0);  // an extension header follows
  CHECK(p.arrivals_of(make({.payload = 100, .fragment = 1})) == 0);
  CHECK(p.arrivals_of(make({.payload = 100, .fragment = 0x1f00})) == 0);
  CHECK(p.arrivals_of(make({.payload = 100, .fragment = 0x4000})) == 1);  // "don't fragment" is no fragment
  CHECK(p.arrivals_of(make({.version = 5, .payload = 100})) == 0);
}

TEST_CASE("truncated frames and impossible header lengths are passed over") {
  const Programs p;
  for (const unsigned version : {4u, 6u}) {
    const auto whole = make({.version = version, .payload = 1});
    const std::size_t least = version == 4 ? 14 + 20 : 14 + 40;  // the kernel runs nothing shorter
    for (std::size_t bytes = least; bytes < whole.size(); ++bytes)
      CHECK(p.arrivals_of({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes)}) == 0);
  }
  auto frame = make({.payload = 8});
  for (const std::uint8_t length :
       std::initializer_list<std::uint8_t>{0x40, 0x41, 0x44}) {  // an IP header of less than 20 bytes
    frame[14] = length;
    CHECK(p.arrivals_of(frame) == 0);
  }
  frame = make({.payload = 8});
  for (const std::uint8_t offset : std::initializer_list<std::uint8_t>{
           0x00, 0x40, 0xf0}) {  // a TCP header of less than 20, or of more than there is
    frame[14 + 20 + 12] = offset;
    CHECK(p.arrivals_of(frame) == 0);
  }
}

TEST_CASE("a repeated segment is no second request") {
  const Programs p;
  CHECK(p.arrivals_of(make({.payload = 10}), 100) == 1);
}

TEST_CASE("an answer without a request changes nothing") {
  const Programs p;
  CHECK(p.run(p.egress, make({.payload = 10})) == 1);
  CHECK(p.services[service].waiting == 0);
  CHECK(p.services[service].completions == 0);
}

TEST_CASE("targets are compared behind whatever headers, and cut off where the segment ends") {
  Programs p;
  p.ignore(LULL_METHOD_GET, "/health");
  for (const unsigned version : {4u, 6u})
    for (const std::size_t options : {std::size_t{0}, std::size_t{12}, std::size_t{40}}) {
      const auto frame = [&](std::string_view text) {
        return make({.version = version, .tcp_options = options, .text = text});
      };
      CHECK(p.arrivals_of(frame("GET /health HTTP/1.1\r\n\r\n")) == 0);
      CHECK(p.arrivals_of(frame("GET /health")) == 0);
      CHECK(p.arrivals_of(frame("GET /healt")) == 1);
      CHECK(p.arrivals_of(frame("GET /")) == 1);
      CHECK(p.arrivals_of(frame("GET ")) == 1);
      CHECK(p.arrivals_of(frame("G")) == 1);
      CHECK(p.arrivals_of(frame("HEAD /health HTTP/1.1\r\n\r\n")) == 1);
      CHECK(p.arrivals_of(frame("GET /infer?" + std::string(1000, 'x'))) == 1);
    }
}

TEST_CASE("senders are compared by network") {
  Programs p;
  p.ignore_sender({10, 1, 0, 0}, 16);
  auto frame = make({.payload = 100});
  const auto from = [&](std::initializer_list<std::uint8_t> address) {
    std::copy(address.begin(), address.end(), frame.begin() + 14 + 12);
    return p.arrivals_of(frame);
  };
  CHECK(from({10, 1, 2, 3}) == 0);
  CHECK(from({10, 2, 2, 3}) == 1);
  CHECK(from({11, 1, 2, 3}) == 1);
  CHECK(p.arrivals_of(make({.version = 6, .payload = 100})) == 1);
}

TEST_CASE("a segment below the least size is no request yet") {
  Programs p;
  p.set(lull_rule{1, 100, 0, 0, {}});
  CHECK(p.arrivals_of(make({.payload = 99})) == 0);
  CHECK(p.arrivals_of(make({.payload = 100})) == 1);
}
