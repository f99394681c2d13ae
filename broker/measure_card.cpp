// broker/measure_card.cpp: the helper: a context on one card, a few copies and calls, their times.
#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "broker/measure.h"
#include "broker/measure_driver.h"
#include "broker/units.h"
#include "broker/uuid.h"
#include "protocol/memory.h"

namespace lull {

// cuda.h renames some functions to their newest version; the names here are those that every driver since 11.2 has.
bool MeasureDriver::open(std::string& why_not) {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why_not = fmt::format("no CUDA driver ({})", ::dlerror());
    return false;
  }
#define X(member, name)                                                \
  member = reinterpret_cast<decltype(member)>(::dlsym(library, name)); \
  if (!member) why_not = "the driver has no " name;
  LULL_MEASURE_CALLS(X)
#undef X
  return why_not.empty();
}

namespace {

using policy::Bytes;
using policy::Time;

constexpr Bytes most_block = 32 * mib, least_block = 4 * mib;  // of each of two buffers on the card
constexpr float enough_ms = 10;                                // of copying, for a figure

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
void must(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) throw Failure(fmt::format("{}: error {}", what, static_cast<int>(result)));
}

// Everything goes with the process: nothing here is given back one by one.
class Bench {
 public:
  Bench(const MeasureDriver& driver, const Uuid& uuid) : call(driver) {
    must(call.cuInit(0), "cuInit");
    CUcontext context = nullptr;
    must(call.cuDevicePrimaryCtxRetain(&context, find(uuid)), "a context");
    must(call.cuCtxSetCurrent(context), "cuCtxSetCurrent");
    for (auto& stream : streams_) must(call.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "a stream");
    for (auto& event : events_) must(call.cuEventCreate(&event, CU_EVENT_DEFAULT), "an event");
    take_memory();
  }

  CardSpeed measure() {
    CardSpeed speed;
    (void)one_way(out, block_);  // an idle link sleeps; the first copies wake it
    (void)one_way(in, block_);
    const double out_rate = one_way(out, block_), in_rate = one_way(in, block_);
    const auto both = both_ways(out_rate, in_rate);
    speed.to_host = as_rate(out_rate);
    speed.to_device = as_rate(in_rate);
    speed.to_host_both = as_rate(std::min(both[out], out_rate));
    speed.to_device_both = as_rate(std::min(both[in], in_rate));
    speed.knee = knee(out_rate, in_rate);
    for (Bytes chunk = 2 * mib; chunk <= 128 * mib; chunk *= 4)
      if (const auto calls = time_calls(chunk)) speed.calls.push_back(*calls);
    speed.register_gib = time_register();
    return speed;
  }

 private:
  enum Way { out = 0, in = 1 };

  CUdevice find(const Uuid& uuid) {
    int count = 0;
    must(call.cuDeviceGetCount(&count), "cuDeviceGetCount");
    for (int i = 0; i < count; ++i) {
      CUdevice device = 0;
      CUuuid found;
      if (call.cuDeviceGet(&device, i) != CUDA_SUCCESS || call.cuDeviceGetUuid_v2(&found, device) != CUDA_SUCCESS)
        continue;
      if (std::memcmp(found.bytes, uuid.data(), uuid.size()) == 0) return device_ = device;
    }
    throw Failure("the driver does not show this card");
  }

  void take_memory() {
    std::size_t free = 0, total = 0;
    must(call.cuMemGetInfo_v2(&free, &total), "cuMemGetInfo");
    while (block_ > least_block && 4 * block_ > free) block_ /= 2;
    if (4 * block_ > free) throw Failure("the card is full");
    CUmemAllocationProp& p = properties_;
    p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    p.location.id = device_;
    must(call.cuMemGetAllocationGranularity(&granule_, &p, CU_MEM_ALLOC_GRANULARITY_MINIMUM), "granularity");
    for (auto& buffer : buffers_) {
      must(call.cuMemAddressReserve(&buffer, block_, 0, 0, 0), "addresses");
      make_chunk(buffer, block_);
    }
    host_ = ::mmap(nullptr, 2 * block_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (host_ == MAP_FAILED) throw Failure("no host memory");
    must(call.cuMemHostRegister_v2(host_, 2 * block_, 0), "cuMemHostRegister");
  }

  CUmemGenericAllocationHandle make_chunk(CUdeviceptr at, Bytes bytes) {
    CUmemGenericAllocationHandle handle = 0;
    must(call.cuMemCreate(&handle, bytes, &properties_, 0), "cuMemCreate");
    must(call.cuMemMap(at, bytes, 0, handle, 0), "cuMemMap");
    CUmemAccessDesc access{};
    access.location = properties_.location;
    access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    must(call.cuMemSetAccess(at, bytes, &access, 1), "cuMemSetAccess");
    return handle;
  }

  void copy(Way way, Bytes piece) {
    auto* host = static_cast<std::byte*>(host_) + (way == out ? 0 : block_);
    for (Bytes at = 0; at + piece <= block_; at += piece)
      must(way == out ? call.cuMemcpyDtoHAsync_v2(host + at, buffers_[out] + at, piece, streams_[out])
                      : call.cuMemcpyHtoDAsync_v2(buffers_[in] + at, host + at, piece, streams_[in]),
           "a copy");
  }

  float between(int first, int last) {
    float ms = 0;
    must(call.cuEventSynchronize(events_[static_cast<std::size_t>(last)]), "cuEventSynchronize");
    must(
        call.cuEventElapsedTime(&ms, events_[static_cast<std::size_t>(first)], events_[static_cast<std::size_t>(last)]),
        "cuEventElapsedTime");
    return std::max(ms, 1e-4f);
  }
  void record(int event, Way way) {
    must(call.cuEventRecord(events_[static_cast<std::size_t>(event)], streams_[way]), "cuEventRecord");
  }

  // Bytes a second of one direction alone, in pieces back to back: once more and longer if it was over too soon.
  double one_way(Way way, Bytes piece) {
    for (int rounds = 1;; rounds *= 4) {
      record(0, way);
      for (int i = 0; i < rounds; ++i) copy(way, piece);
      record(1, way);
      const float ms = between(0, 1);
      if (ms >= enough_ms || rounds >= 16) return rate(static_cast<Bytes>(rounds) * (block_ / piece * piece), ms);
    }
  }

  // Both at once, of as many bytes. The slower one runs on alone when the other has finished, which is taken off.
  std::array<double, 2> both_ways(double out_rate, double in_rate) {
    constexpr int rounds = 4;
    record(0, out);
    must(call.cuStreamWaitEvent(streams_[in], events_[0], 0), "cuStreamWaitEvent");
    for (int i = 0; i < rounds; ++i) copy(out, block_), copy(in, block_);
    record(1, out);
    record(2, in);
    const double ends[] = {between(0, 1), between(0, 2)};
    const double alone[] = {out_rate, in_rate}, bytes = static_cast<double>(rounds * block_);
    const double together = std::min(ends[0], ends[1]);
    std::array<double, 2> rates;
    for (int way : {out, in}) {
      const auto w = static_cast<std::size_t>(way);
      const double after = (ends[w] - together) / 1e3 * alone[w];
      rates[w] = std::max(bytes - after, bytes / 100) / (together / 1e3);
    }
    return rates;
  }

  Bytes knee(double out_rate, double in_rate) {
    for (Bytes piece = mib / 2; piece < block_; piece *= 2)
      if (one_way(out, piece) >= 0.95 * out_rate && one_way(in, piece) >= 0.95 * in_rate) return piece;
    return block_;
  }

  // Of `calls` alone, by events, as the copies are: the streams are idle, so each is over when it is recorded. The
  // middle one of three.
  template <class Before, class Calls, class After>
  Time time(Before&& before, Calls&& calls, After&& after) {
    std::array<float, 3> ms{};
    for (auto& each : ms) {
      before();
      record(0, out);
      must(call.cuEventSynchronize(events_[0]), "cuEventSynchronize");
      calls();
      record(1, out);
      each = between(0, 1);
      after();
    }
    std::sort(ms.begin(), ms.end());
    return static_cast<Time>(static_cast<double>(ms[1]) * 1e6);
  }

  // Nothing: there is no room for such a chunk.
  std::optional<CardSpeed::Calls> time_calls(Bytes chunk) {
    std::size_t free = 0, total = 0;
    must(call.cuMemGetInfo_v2(&free, &total), "cuMemGetInfo");
    if (chunk % granule_ != 0 || 2 * chunk > free) return std::nullopt;
    CUdeviceptr at = 0;
    must(call.cuMemAddressReserve(&at, chunk, 0, 0, 0), "addresses");
    CUmemGenericAllocationHandle handle = 0;
    const auto nothing = [] {};
    const auto make = [&] { handle = make_chunk(at, chunk); };
    const auto drop = [&] {
      must(call.cuMemUnmap(at, chunk), "cuMemUnmap");
      must(call.cuMemRelease(handle), "cuMemRelease");
    };
    const CardSpeed::Calls calls{chunk, time(nothing, make, drop), time(make, drop, nothing)};
    must(call.cuMemAddressFree(at, chunk), "cuMemAddressFree");
    return calls;
  }

  Time time_register() {
    const auto lock = [&] { must(call.cuMemHostRegister_v2(host_, 2 * block_, 0), "cuMemHostRegister"); };
    const auto unlock = [&] { must(call.cuMemHostUnregister(host_), "cuMemHostUnregister"); };
    return time(unlock, lock, [] {}) * (1024 * mib / (2 * block_));
  }

  static double rate(Bytes bytes, float ms) { return static_cast<double>(bytes) / (static_cast<double>(ms) / 1e3); }
  static std::uint64_t as_rate(double rate) { return static_cast<std::uint64_t>(rate); }

  const MeasureDriver& call;
  CUdevice device_ = 0;
  CUmemAllocationProp properties_{};
  std::size_t granule_ = 2 * mib;
  std::array<CUstream, 2> streams_{};
  std::array<CUevent, 3> events_{};
  std::array<CUdeviceptr, 2> buffers_{};
  void* host_ = nullptr;
  Bytes block_ = most_block;
};

bool say(int out, const std::string& text) {
  return ::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

int measure_card(const std::string& text, int out) {
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);  // without the broker nobody wants to know
  (void)::alarm(120);                        // and if nobody waits any more
  const auto uuid = parse_uuid(text);
  MeasureDriver driver;
  std::string why_not = uuid ? "" : "no uuid";
  if (uuid && driver.open(why_not)) {
    try {
      return say(out, json_of(Bench(driver, *uuid).measure()).dump()) ? 0 : 1;
    } catch (const Failure& failure) {
      why_not = failure.what();
    }
  }
  (void)say(out, why_not);  // nobody reads it any more: nothing to be done
  return 1;
}

}  // namespace lull
