// broker/cli/cdi.cpp: lull cdi: the device specification for docker run --device lull.dev/gpu=CLASS.
#include <fmt/format.h>

#include "broker/cli/commands.h"
#include "broker/cli/containers.h"
#include "broker/cli/show.h"

namespace lull::cli {

Action set_up_cdi(Arguments& arguments, const Context& context) {
  arguments.about(
      "For engines that know the Container Device Interface: docker from 28.2 (from 25 with the feature switched on), "
      "podman from 4.1. Installing Lull puts it into /run/cdi; by hand: lull cdi | sudo tee /etc/cdi/lull.json");
  return [&context] {
    fmt::print("{}\n", cdi_spec(installed_paths(context.runtime_dir)).dump(2));
    return ok;
  };
}

}  // namespace lull::cli
