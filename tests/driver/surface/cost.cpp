#include "tests/driver/surface/cost.h"

#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/driver/card/clock.h"
#include "tests/driver/card/settings.h"
#include "tests/driver/journal/journal.h"

namespace lull::sim {
namespace {

constexpr std::uint64_t worth_a_sleep_ns = 200'000;
thread_local constinit std::uint64_t saved_up_ns = 0;

// By the number of the exported function.
std::vector<CallCost> costs_of(const Profile& card) {
  std::vector<CallCost> costs;
  const auto set = [&](const char* name, const CallCost& cost) {
    const std::uint16_t function = function_number(name);
    if (function == 0xffff || (cost.call_ns == 0 && cost.mib_ns == 0)) return;
    if (costs.size() <= function) costs.resize(function + std::size_t{1});
    costs[function] = cost;
  };
  set("cuMemAddressReserve", card.reserve);
  set("cuMemCreate", card.create);
  set("cuMemMap", card.map);
  set("cuMemSetAccess", card.set_access);
  set("cuMemUnmap", card.unmap);
  set("cuMemRelease", card.release);
  for (const char* name : {"cuMemHostRegister", "cuMemHostRegister_v2"}) set(name, card.host_register);
  for (const char* name : {"cuMemHostAlloc", "cuMemAllocHost", "cuMemAllocHost_v2"}) set(name, card.host_alloc);
  for (const std::string name : {"cuLaunchKernel", "cuLaunchKernelEx", "cuLaunchCooperativeKernel", "cuGraphLaunch"}) {
    set(name.c_str(), {card.launch_ns, 0});
    set((name + "_ptsz").c_str(), {card.launch_ns, 0});
  }
  return costs;
}

const std::vector<CallCost>& costs() {
  static const auto& all = *new std::vector<CallCost>(costs_of(settings().card));
  return all;
}

void sleep_for(std::uint64_t ns) {
  const timespec pause{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  (void)::nanosleep(&pause, nullptr);  // a signal may cut it short: the program's handler has gone before the rest
}

}  // namespace

bool has_cost(std::uint16_t function) {
  return function < costs().size() && (costs()[function].call_ns != 0 || costs()[function].mib_ns != 0);
}

std::uint64_t spend_cost(std::uint16_t function, std::uint64_t bytes, std::uint64_t start_ns) {
  const CallCost& cost = costs()[function];
  const double size_ns = static_cast<double>(bytes) / (1u << 20) * static_cast<double>(cost.mib_ns);
  const std::uint64_t end_ns = start_ns + stretched_ns(cost.call_ns + static_cast<std::uint64_t>(size_ns));
  const std::uint64_t now = now_ns();
  if (end_ns > now) saved_up_ns += end_ns - now;
  if (saved_up_ns >= worth_a_sleep_ns) {
    sleep_for(saved_up_ns);
    const std::uint64_t slept = now_ns() - now;
    saved_up_ns -= std::min(saved_up_ns, slept);
  }
  return end_ns;
}

}  // namespace lull::sim
