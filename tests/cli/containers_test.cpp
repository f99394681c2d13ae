#include "broker/cli/containers.h"

#include <doctest/doctest.h>

using namespace lull::cli;

namespace {
const HostPaths paths = {"/run/lull", "/usr/lib/x/lull", "/usr/share/lull/ld.so.preload"};
}

TEST_CASE("a class is a device, and what all share is mounted once") {
  const auto spec = cdi_spec(paths);
  CHECK(spec["kind"] == "lull.dev/gpu");
  REQUIRE(spec["devices"].size() == 3);
  for (const auto& device : spec["devices"]) {
    const auto& mounts = device["containerEdits"]["mounts"];
    REQUIRE(mounts.size() == 1);
    CHECK(mounts[0]["hostPath"] == "/run/lull/" + device["name"].get<std::string>() + "/socket");
    CHECK(mounts[0]["containerPath"] == "/run/lull");
  }
  for (const auto& mount : spec["containerEdits"]["mounts"]) {
    const auto options = mount["options"].get<std::vector<std::string>>();
    const bool runs = std::find(options.begin(), options.end(), "noexec") == options.end();
    CHECK(runs == (mount["containerPath"] == "/usr/lib/lull"));  // the library has to be mapped from its mount
  }
  CHECK_FALSE(spec.contains("env"));
}

TEST_CASE("the same mounts as arguments of docker run") {
  CHECK(docker_arguments(paths, "training") ==
        "-v /run/lull/training/socket:/run/lull -v /usr/lib/x/lull:/usr/lib/lull:ro "
        "-v /usr/share/lull/ld.so.preload:/etc/ld.so.preload:ro");
}
