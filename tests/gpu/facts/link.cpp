// The link: each way, both ways, by size of piece, in one process and in two.
#include <fmt/format.h>

#include <algorithm>

#include "broker/units.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

enum class Way { out, in };

// Page-locked memory of the host and as much of the card, with a stream that copies between them.
struct Lane {
  Lane(const Card& card, std::size_t wanted) : bytes(card.share(wanted)), stream(make_stream()) {
    OK(cuMemAlloc, &there, bytes);
    OK(cuMemHostAlloc, &here, bytes, 0);
    OK(cuMemsetD8, there, 1, bytes);
  }
  void submit(Way way, std::size_t piece) const {
    for (std::size_t at = 0; at < bytes; at += piece) {
      const std::size_t size = std::min(piece, bytes - at);
      if (way == Way::out)
        OK(cuMemcpyDtoHAsync, static_cast<char*>(here) + at, there + at, size, stream);
      else
        OK(cuMemcpyHtoDAsync, there + at, static_cast<char*>(here) + at, size, stream);
    }
  }
  void wait() const { OK(cuStreamSynchronize, stream); }
  double rate(Way way, std::size_t piece, int times) const {  // bytes/s, the best of some
    double best_rate = 0;
    for (int i = 0; i < times; ++i) {
      const double begin = now();
      submit(way, piece);
      wait();
      best_rate = std::max(best_rate, static_cast<double>(bytes) / (now() - begin));
    }
    return best_rate;
  }

  std::size_t bytes;
  CUstream stream;
  CUdeviceptr there = 0;
  void* here = nullptr;
};

std::string gb(double rate) { return fmt::format("{:.1f} GB/s", rate / 1e9); }

}  // namespace

FACT(link_one_process, "E2 P7", "How fast is the link each way, both ways at once, and from which piece on?") {
  const Card card;
  const int times = fact.quick ? 1 : 5;
  const Lane out(card, fact.quick ? 4 * mib : 512 * mib), in(card, fact.quick ? 4 * mib : 512 * mib);
  const double alone_out = out.rate(Way::out, out.bytes, times), alone_in = in.rate(Way::in, in.bytes, times);
  double both = 0;
  for (int i = 0; i < times; ++i) {
    const double begin = now();
    out.submit(Way::out, 8 * mib);
    in.submit(Way::in, 8 * mib);
    out.wait();
    in.wait();
    both = std::max(both, static_cast<double>(out.bytes + in.bytes) / (now() - begin));
  }
  json curve = json::array();
  double knee = 0;
  for (std::size_t piece = 64 << 10; piece <= std::min<std::size_t>(64 * mib, out.bytes); piece *= 2) {
    const double a = out.rate(Way::out, piece, times), b = in.rate(Way::in, piece, times);
    curve.push_back({{"piece_bytes", piece}, {"d2h_bytes_per_s", a}, {"h2d_bytes_per_s", b}});
    if (knee == 0 && a > 0.95 * alone_out && b > 0.95 * alone_in) knee = static_cast<double>(piece);
  }
  // After a pause the link may sleep: the first copy then takes longer than the next.
  std::vector<double> first, second;
  for (int i = 0; i < times; ++i) {
    const timespec pause{fact.quick ? 0 : 1, 0};
    (void)::nanosleep(&pause, nullptr);
    for (auto* list : {&first, &second}) {
      const double begin = now();
      OK(cuMemcpyDtoHAsync, out.here, out.there, 4096, out.stream);
      out.wait();
      list->push_back((now() - begin) * 1e6);
    }
  }
  fact.figures = {{"bytes", out.bytes},
                  {"d2h_bytes_per_s", alone_out},
                  {"h2d_bytes_per_s", alone_in},
                  {"both_bytes_per_s", both},
                  {"copy_engines", card.attribute(CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT)},
                  {"knee_bytes", knee},
                  {"curve", curve},
                  {"first_copy_after_a_pause_us", median(first)},
                  {"second_copy_us", median(second)}};
  fact.sentence = fmt::format("out {}, in {}, both at once {} together; full speed from pieces of {} KiB",
                              gb(alone_out), gb(alone_in), gb(both), static_cast<std::uint64_t>(knee) >> 10);
}

FACT(link_two_processes, "E2 P7", "Do two processes, one copying out and one in, share the link as one process does?") {
  const std::size_t wanted = fact.quick ? 4 * mib : 512 * mib;
  const int times = fact.quick ? 2 : 10;
  Other other([&](const Other::Line& line) {
    const Card card;
    const Lane in(card, wanted);
    line(0);
    for (;;) {
      const double begin = now();
      for (int i = 0; i < times; ++i) in.submit(Way::in, 8 * mib);
      in.wait();
      line(static_cast<double>(in.bytes) * times / (now() - begin));
    }
  });
  (void)other.hear();
  const Card card;
  const Lane out(card, wanted);
  const double alone = out.rate(Way::out, 8 * mib, times);
  other.say(1);
  const double other_alone = other.hear();
  other.say(1);
  const double begin = now();
  for (int i = 0; i < times; ++i) out.submit(Way::out, 8 * mib);
  out.wait();
  const double together = static_cast<double>(out.bytes) * times / (now() - begin), other_together = other.hear();
  fact.figures = {{"d2h_alone_bytes_per_s", alone},
                  {"h2d_alone_bytes_per_s", other_alone},
                  {"d2h_together_bytes_per_s", together},
                  {"h2d_together_bytes_per_s", other_together}};
  fact.sentence = fmt::format("out {} alone and {} beside the other; in {} alone and {} beside", gb(alone),
                              gb(together), gb(other_alone), gb(other_together));
}

}  // namespace lull::facts
