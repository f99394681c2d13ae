// What a host may refuse, and what is left behind.
#include <bpf/bpf.h>
#include <doctest/doctest.h>
#include <grp.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <string>

#include "bpf/cgroup_root.h"
#include "bpf/kernel.h"
#include "tests/bpf/sockets.h"

using namespace lull;
using namespace lull::test;

namespace {

constexpr unsigned nobody = 65534;

// The reason load() gives to an unprivileged process; empty: it loaded, or did not answer.
std::string reason_given_to_nobody() {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Handle out(ends[0]);
  Handle in(ends[1]);
  const Process child([&] {
    std::string why_not;
    if (::setgroups(0, nullptr) == 0 && ::setgid(nobody) == 0 && ::setuid(nobody) == 0 && !Arrivals::load(&why_not))
      (void)!::write(in.get(), why_not.data(), why_not.size());
    ::_exit(0);
  });
  in = Handle();
  char text[1000];
  const ssize_t got = ::read(out.get(), text, sizeof(text));
  return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : "";
}

bool link_exists(std::uint32_t id) { return static_cast<bool>(Handle(bpf_link_get_fd_by_id(id))); }

}  // namespace

TEST_CASE("without permission there is one sentence that says what is lost and what to do") {
  const std::string sentence = reason_given_to_nobody();
  CHECK(sentence ==
        "requests are seen only when they reach the GPU: the kernel refuses the packet programs: Operation not "
        "permitted; lulld needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, outside of any user namespace");
}

TEST_CASE("nothing of a killed loader stays attached") {
  Channel ids;
  std::vector<std::uint32_t> links;
  Process loader([&] {
    std::string why_not;
    Arrivals::Kernel kernel;
    if (!kernel.load_packets(&why_not) || !kernel.attach_packets(open_cgroup_root(), &why_not)) ::_exit(1);
    kernel.load_tracing(open_cgroup_root());
    ids.put(static_cast<std::uint32_t>(kernel.links.size()));
    for (const auto& link : kernel.links) {
      bpf_link_info info{};
      __u32 bytes = sizeof(info);
      if (bpf_obj_get_info_by_fd(bpf_link__fd(link.get()), &info, &bytes) != 0) ::_exit(1);
      ids.put(info.id);
    }
    for (;;) ::pause();
  });
  const std::uint32_t count = ids.get();
  for (std::uint32_t i = 0; i < count; ++i) links.push_back(ids.get());
  REQUIRE(links.size() >= 2);
  for (const std::uint32_t id : links) REQUIRE(link_exists(id));
  loader.kill();
  for (const std::uint32_t id : links) CHECK(eventually([id] { return !link_exists(id); }));
}

TEST_CASE("the number of an exited process stands for nothing, as another may get it") {
  Arrivals::Kernel kernel;
  std::string why_not;
  REQUIRE_MESSAGE(kernel.load_packets(&why_not), why_not);
  kernel.load_tracing(open_cgroup_root());
  REQUIRE(kernel.by_tgid_works);
  Process process([] {
    for (;;) ::pause();
  });
  const int pid = process.pid();
  std::uint32_t service_plus_1 = 1;
  REQUIRE(bpf_map_update_elem(kernel.maps.by_tgid, &pid, &service_plus_1, BPF_ANY) == 0);
  process.kill();
  CHECK(eventually([&] { return bpf_map_lookup_elem(kernel.maps.by_tgid, &pid, &service_plus_1) != 0; }));
}

TEST_CASE("a host without a mounted cgroup2 gets a mount that no path leads to") {
  const Handle root = mount_cgroup_root();
  REQUIRE(root);
  struct statfs status {};
  REQUIRE(::fstatfs(root.get(), &status) == 0);
  CHECK(status.f_type == CGROUP2_SUPER_MAGIC);
  Arrivals::Kernel kernel;
  std::string why_not;
  REQUIRE_MESSAGE(kernel.load_packets(&why_not), why_not);
  CHECK_MESSAGE(kernel.attach_packets(root, &why_not), why_not);
}
