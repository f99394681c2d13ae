// The least that the programs need: three capabilities, as another user.
#include <doctest/doctest.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <string>

#include "bpf/loader.h"
#include "tests/bpf/sockets.h"

using namespace lull;
using namespace lull::test;

namespace {

constexpr unsigned nobody = 65534;
constexpr unsigned needed[] = {CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN};

bool keep_only(std::initializer_list<unsigned> wanted) {
  if (::prctl(PR_SET_KEEPCAPS, 1) != 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  if (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (const unsigned one : wanted) data[one / 32].effective |= 1u << (one % 32);
  for (auto& word : data) word.permitted = word.effective;
  return ::syscall(SYS_capset, &header, data) == 0;
}

// Loads with these capabilities and sees one request; what is missing, or "all".
std::string with(std::initializer_list<unsigned> capabilities) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const Handle out(ends[0]);
  Handle in(ends[1]);
  const Process child([&] {
    std::string answer = "cannot give up rights";
    if (keep_only(capabilities)) {
      const auto arrivals = Arrivals::load(&answer);
      if (arrivals && arrivals->watch(0, ::getpid(), &answer)) {
        answer = "all";
        for (const auto& note : arrivals->notes()) answer += "; " + note;
        if (!arrivals->watch_devices({{1, 5}})) answer += "; no device watch";
        const Server server;
        const Handle client = connect_to(server), service = accept_from(server);
        send_bytes(client);
        receive_bytes(service);
        if (arrivals->counters(0).waiting != 1) answer += "; the request is not seen";
      }
    }
    (void)!::write(in.get(), answer.data(), answer.size());
    ::_exit(0);
  });
  in = Handle();
  char text[2000];
  const ssize_t got = ::read(out.get(), text, sizeof(text));
  return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : "";
}

}  // namespace

TEST_CASE("three capabilities are enough for everything, as another user and without new privileges") {
  CHECK(with({needed[0], needed[1], needed[2]}) == "all");
}

TEST_CASE("each of the three is needed") {
  CHECK(with({needed[1], needed[2]}).rfind("requests are seen only when they reach the GPU", 0) == 0);
  CHECK(with({needed[0], needed[2]}).rfind("requests are seen only when they reach the GPU", 0) == 0);
  CHECK(with({needed[0], needed[1]}).rfind("requests are seen only when they reach the GPU", 0) == 0);
}
