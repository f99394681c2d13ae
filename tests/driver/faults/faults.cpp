#include "tests/driver/faults/faults.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <vector>

#include "tests/driver/card/settings.h"
#include "tests/driver/context/context.h"

namespace lull::sim {
namespace {

constexpr auto look_again = std::chrono::milliseconds(20);  // a context's end has no condition of its own

struct Armed {
  Request request;
  std::uint16_t function = 0xffff;
  std::uint64_t count = 0;
};

struct Faults {
  std::atomic<bool> any{false};  // false: nobody needs to look
  std::mutex mutex;
  std::condition_variable released;
  std::vector<Armed> calls, copies;
  std::set<std::uint32_t> to_hang;  // by stream number; 0: whichever comes first
  std::set<std::uint32_t> hanging;
  std::vector<Request> environment;
  std::string problem;  // with the environment
};

bool arm_call(Faults& all, const Request& request, std::string& problem) {
  const std::uint16_t function = function_number(request.function);
  if (function == 0xffff) {
    problem = "'" + request.function + "': no exported function has this name; versions have their suffix";
    return false;
  }
  all.calls.push_back({request, function, 0});
  return true;
}

// What needs no card, and so can be from the first call on, even before cuInit.
bool arm(Faults& all, const Request& request, std::string& problem) {
  using What = Request::What;
  if (request.what == What::corrupt)
    all.copies.push_back({request, 0xffff, 0});
  else if (request.what == What::hang)
    all.to_hang.insert(request.stream);
  else if (!arm_call(all, request, problem))
    return false;
  all.any.store(true, std::memory_order_release);  // pairs with the loads of those who look
  return true;
}

bool needs_arming(const Request& request) {
  using What = Request::What;
  return request.what != What::shrink && request.what != What::release && request.what != What::clear;
}

void arm_environment(Faults& all) {
  std::string problem;
  if (!parse_requests(settings().faults, all.environment, problem)) all.problem = problem;
  for (const Request& request : all.environment) {
    if (needs_arming(request) && !arm(all, request, problem)) all.problem = problem;
  }
}

// Never destroyed: streams of the program may outlive the destructors of its libraries.
Faults& faults() {
  static auto& one = *[] {
    auto* made = new Faults;
    arm_environment(*made);
    return made;
  }();
  return one;
}

Kind kind_of(const std::string& way) {
  if (way == "h2d") return Kind::copy_h2d;
  return way == "d2h" ? Kind::copy_d2h : Kind::copy_d2d;
}

bool shrink(const Request& request, std::string& problem) {
  const Device* device = device_of(request.card);
  if (!device) {
    problem = "there is no card " + std::to_string(request.card);
    return false;
  }
  if (device->card->withhold(request.bytes)) return true;
  problem = "the card has less than " + std::to_string(request.bytes) + " bytes free";
  return false;
}

void release(std::uint32_t stream) {
  Faults& all = faults();
  if (stream == 0) {
    all.to_hang.clear();
    all.hanging.clear();
  } else {
    all.to_hang.erase(stream);
    all.hanging.erase(stream);
  }
  all.released.notify_all();
}

void sleep_for(std::uint64_t ns) {
  timespec left{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  while (::nanosleep(&left, &left) != 0) {
  }
}

}  // namespace

bool apply_fault(const Request& request, std::string& problem) {
  Faults& all = faults();
  const std::scoped_lock lock(all.mutex);
  if (needs_arming(request)) return arm(all, request, problem);
  if (request.what == Request::What::shrink) return shrink(request, problem);
  if (request.what == Request::What::clear) {
    all.calls.clear();
    all.copies.clear();
  }
  release(request.stream);  // of `clear`: any
  return true;
}

std::string apply_faults_of_environment() {
  std::string problem = faults().problem;
  for (const Request& request : faults().environment) {
    if (problem.empty() && request.what == Request::What::shrink) (void)shrink(request, problem);
  }
  return problem.empty() ? problem : "LULL_SIM_FAULTS: " + problem;
}

CUresult fault_at_call(std::uint16_t function) {
  Faults& all = faults();
  if (!all.any.load(std::memory_order_acquire)) return CUDA_SUCCESS;
  CUresult answer = CUDA_SUCCESS;
  std::uint64_t delay_ns = 0;
  {
    const std::scoped_lock lock(all.mutex);
    for (Armed& armed : all.calls) {
      if (armed.function != function || !armed.request.occasion.is(++armed.count)) continue;
      if (armed.request.what == Request::What::kill) (void)::kill(::getpid(), SIGKILL);
      delay_ns += armed.request.delay_ns;
      if (answer == CUDA_SUCCESS) answer = static_cast<CUresult>(armed.request.error);
    }
  }
  if (delay_ns != 0) sleep_for(delay_ns);
  return answer;
}

bool fault_at_copy(Kind way) {
  Faults& all = faults();
  if (!all.any.load(std::memory_order_acquire)) return false;
  const std::scoped_lock lock(all.mutex);
  bool wrong = false;
  for (Armed& armed : all.copies) {
    if (kind_of(armed.request.way) == way && armed.request.occasion.is(++armed.count)) wrong = true;
  }
  return wrong;
}

void fault_at_work(std::uint32_t stream, const Life& life) {
  Faults& all = faults();
  if (!all.any.load(std::memory_order_acquire)) return;
  std::unique_lock lock(all.mutex);
  if (all.to_hang.erase(stream) == 0 && all.to_hang.erase(0) == 0) return;
  all.hanging.insert(stream);
  while (all.hanging.contains(stream) && !life.stop) all.released.wait_for(lock, look_again);
  all.hanging.erase(stream);
}

}  // namespace lull::sim
