// What memory that moves costs: handles by size, idle and beside work; what the calls wait for.
#include <fmt/format.h>

#include <algorithm>

#include "broker/units.h"
#include "tests/gpu/facts/card.h"
#include "tests/gpu/facts/fact.h"

namespace lull::facts {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;

struct Costs {
  double create = 0, map = 0, access = 0, access_each = 0, unmap = 0, unmap_each = 0, release = 0;  // us a handle
};

// Some handles of one size: each call for all of them, then the calls that take a range, handle by handle.
Costs costs_of(const Card& card, std::size_t handle_bytes, std::size_t count) {
  const auto properties = on_card(card);
  const auto access = writable(card);
  const auto create = CU(cuMemCreate);
  const auto map = CU(cuMemMap);
  const auto set_access = CU(cuMemSetAccess);
  const auto unmap = CU(cuMemUnmap);
  const auto release = CU(cuMemRelease);
  std::vector<CUmemGenericAllocationHandle> handles(count);
  CUdeviceptr at = 0;
  OK(cuMemAddressReserve, &at, handle_bytes * count, 0, 0, 0);
  const auto timed = [&](const auto& body) {
    const double begin = now();
    body();
    return (now() - begin) * 1e6 / static_cast<double>(count);
  };
  const auto each = [&](const auto& body) {
    return timed([&] {
      for (std::size_t i = 0; i < count; ++i) must(body(i), "a call of the address space");
    });
  };
  const auto place = [&](std::size_t i) { return at + i * handle_bytes; };
  Costs c;
  c.create = each([&](std::size_t i) { return create(&handles[i], handle_bytes, &properties, 0); });
  c.map = each([&](std::size_t i) { return map(place(i), handle_bytes, 0, handles[i], 0); });
  c.access = timed([&] { must(set_access(at, handle_bytes * count, &access, 1), "cuMemSetAccess"); });
  c.unmap = timed([&] { must(unmap(at, handle_bytes * count), "cuMemUnmap"); });
  (void)each([&](std::size_t i) { return map(place(i), handle_bytes, 0, handles[i], 0); });
  c.access_each = each([&](std::size_t i) { return set_access(place(i), handle_bytes, &access, 1); });
  c.unmap_each = each([&](std::size_t i) { return unmap(place(i), handle_bytes); });
  c.release = each([&](std::size_t i) { return release(handles[i]); });
  OK(cuMemAddressFree, at, handle_bytes * count);
  return c;
}

json json_of(const Costs& c) {
  return {{"create_us", c.create},           {"map_us", c.map},     {"access_us", c.access},
          {"access_each_us", c.access_each}, {"unmap_us", c.unmap}, {"unmap_each_us", c.unmap_each},
          {"release_us", c.release}};
}

json table(const Card& card, bool quick) {
  json rows = json::array();
  for (const std::size_t size : {2, 16, 32, 64, 128}) {
    const std::size_t bytes = std::max(size * mib, card.granularity), room = card.share(quick ? 8 * mib : 2048 * mib);
    if (bytes > room) continue;
    json row = json_of(costs_of(card, bytes, std::min<std::size_t>(room / bytes, 64)));
    row["handle_bytes"] = bytes;
    rows.push_back(row);
  }
  if (rows.empty()) throw Skip("too little memory is free for one handle");
  return rows;
}

double whole(const json& row) {
  return row["create_us"].get<double>() + row["map_us"].get<double>() + row["access_us"].get<double>();
}

}  // namespace

FACT(mapping_costs, "E1", "What do create, map, set access, unmap and release cost, by size of the handle?") {
  const Card card;
  const auto rows = table(card, fact.quick);
  fact.figures = {{"granularity_bytes", card.granularity}, {"handles", rows}};
  const auto& last = rows.back();
  fact.sentence = fmt::format(
      "{} MiB handles: made and mapped in {:.0f} us, set access for many at once {:.0f} us a handle, one by one {:.0f} "
      "us; "
      "unmap {:.0f} and {:.0f} us",
      last["handle_bytes"].get<std::size_t>() / mib, whole(last), last["access_us"].get<double>(),
      last["access_each_us"].get<double>(), last["unmap_us"].get<double>(), last["unmap_each_us"].get<double>());
}

FACT(mapping_beside_work, "E4", "Do these calls wait while this process, or another one, computes?") {
  const std::uint64_t ns = (fact.quick ? 1 : 20) * second_ns;
  Other other([&](const Other::Line& line) {
    const Card card;
    Spinner spinner;
    const auto stream = make_stream();
    for (;;) {
      line(0);
      spinner.start(stream, ns);
      line(1);
      spinner.stop();
      spinner.wait(stream);
    }
  });
  (void)other.hear();
  const Card card;
  Spinner spinner;
  const auto stream = make_stream();
  const auto idle = table(card, fact.quick);
  other.say(1);
  (void)other.hear();
  const auto beside_other = table(card, fact.quick);
  other.say(1);
  (void)other.hear();
  spinner.start(stream, ns);
  double begin = now();
  const auto beside_own = table(card, fact.quick);
  const double took = now() - begin;
  const bool still_runs = CU(cuStreamQuery)(stream) == CUDA_ERROR_NOT_READY;
  spinner.stop();
  spinner.wait(stream);
  fact.figures = {{"idle", idle},
                  {"other_process_computes", beside_other},
                  {"own_stream_computes", beside_own},
                  {"own_kernel_outlived_the_calls", still_runs},
                  {"calls_took_s", took}};
  fact.sentence = fmt::format(
      "largest handles: {:.0f} us idle, {:.0f} us while another process computes, {:.0f} us beside a "
      "kernel of its own{}",
      whole(idle.back()), whole(beside_other.back()), whole(beside_own.back()),
      still_runs ? ", for which they do not wait" : ", which had ended meanwhile");
}

FACT(unmap_beside_a_kernel, "E4", "Does cuMemUnmap of memory that no kernel uses wait for a running kernel?") {
  const Card card;
  Mapped memory(card, card.share(fact.quick ? 2 * mib : 64 * mib), card.granularity);
  Spinner spinner;
  const auto stream = make_stream();
  const double limit = fact.quick ? 0.5 : 3;
  spinner.start(stream, static_cast<std::uint64_t>(limit * 1e9));
  const double begin = now();
  memory.unmap();
  const double took = now() - begin;
  const bool runs = CU(cuStreamQuery)(stream) == CUDA_ERROR_NOT_READY;
  spinner.stop();
  spinner.wait(stream);
  fact.figures = {{"unmap_and_release_us", took * 1e6}, {"kernel_still_ran", runs}, {"kernel_limit_s", limit}};
  fact.sentence = runs ? fmt::format("it does not: done after {:.0f} us, the kernel ran on", took * 1e6)
                       : fmt::format("it does: it came back after {:.2f} s, when the kernel had ended", took);
}

}  // namespace lull::facts
