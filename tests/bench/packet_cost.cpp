#include "tests/bench/packet_cost.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "bpf/kernel.h"

namespace lull::bench {
namespace {

constexpr int repeats = 200'000;
constexpr std::size_t turns = 9;  // each of both programs, in turn: they see the same machine

Handle load_empty() {
  const bpf_insn return_1[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .src_reg = 0, .off = 0, .imm = 1},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  return Handle(
      bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "empty", "Dual BSD/GPL", return_1, std::size(return_1), nullptr));
}

// An Ethernet frame with a TCP segment of 64 bytes for a port that nobody has named.
std::vector<std::uint8_t> unrelated_frame() {
  std::vector<std::uint8_t> frame(14 + 20 + 20 + 64);
  frame[12] = 0x08;
  frame[14] = 0x45;
  frame[14 + 9] = 6;
  frame[14 + 20 + 12] = 0x50;
  frame[14 + 20 + 13] = 0x10;
  return frame;
}

double run_ns(int program, std::vector<std::uint8_t>& frame) {
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<__u32>(frame.size());
  options.repeat = repeats;
  if (bpf_prog_test_run_opts(program, &options) != 0) throw std::runtime_error("the kernel does not run the program");
  return options.duration;
}

}  // namespace

double packet_cost_ns() {
  std::string why_not;
  Arrivals::Kernel kernel;
  const Handle empty = load_empty();
  if (!kernel.load_packets(&why_not)) throw std::runtime_error(why_not);
  if (!empty) throw std::runtime_error("cannot load a program that does nothing");
  auto frame = unrelated_frame();
  std::array<double, turns> added{};
  for (double& one : added) {
    const double without = run_ns(empty.get(), frame);
    one = run_ns(kernel.ingress, frame) - without;
  }
  std::sort(added.begin(), added.end());
  return added[turns / 2];
}

}  // namespace lull::bench
