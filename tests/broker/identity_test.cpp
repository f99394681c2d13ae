#include "broker/identity.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include "broker/uuid.h"

using namespace lull;

namespace {
const std::string id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
}

TEST_CASE("a container is named by its engine and the start of its id") {
  CHECK(container_or_unit("0::/system.slice/docker-" + id + ".scope\n") == "docker:0123456789ab");
  CHECK(container_or_unit("0::/docker/" + id + "\n") == "docker:0123456789ab");
  CHECK(container_or_unit("0::/machine.slice/libpod-" + id + ".scope/container\n") == "podman:0123456789ab");
  CHECK(container_or_unit("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope\n") ==
        "containerd:0123456789ab");
  CHECK(container_or_unit("12:cpu:/\n4:memory:/docker/" + id + "\n0::/\n") == "docker:0123456789ab");
}

TEST_CASE("a service is named by its unit, a login session by nothing") {
  CHECK(container_or_unit("0::/system.slice/faces.service\n") == "faces.service");
  CHECK(container_or_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/faces.service\n") ==
        "faces.service");
  CHECK_FALSE(container_or_unit("0::/user.slice/user-1000.slice/user@1000.service/app.slice/tmux.scope\n"));
  CHECK_FALSE(container_or_unit("0::/\n"));
  CHECK_FALSE(container_or_unit(""));
  CHECK_FALSE(container_or_unit("::::\n/\n:/"));
}

TEST_CASE("names of strangers are made printable") {
  CHECK(container_or_unit("0::/system.slice/a\x01\xff.service") == "a??.service");
  CHECK(tenant_name("mine", ::getpid()) == "mine");
  CHECK_FALSE(tenant_name("", ::getpid()).empty());
}

TEST_CASE("a process has an age, one that is not there has none") {
  CHECK(process_age(::getpid()).has_value());
  CHECK(*process_age(::getpid()) < 3600 * policy::second);
  CHECK_FALSE(process_age(0));
}

TEST_CASE("a uuid survives being written and read") {
  const auto uuid = parse_uuid("GPU-01234567-89ab-cdef-0123-456789ABCDEF");
  REQUIRE(uuid);
  CHECK((*uuid)[15] == 0xef);
  CHECK(show_uuid(*uuid) == "GPU-01234567-89ab-cdef-0123-456789abcdef");
  for (const char* wrong : {"", "GPU-", "GPU-01234567-89ab-cdef-0123-456789abcde",
                            "GPU-01234567089ab-cdef-0123-456789abcdef", "GPU-0123456g-89ab-cdef-0123-456789abcdef"})
    CHECK_FALSE(parse_uuid(wrong));
}
