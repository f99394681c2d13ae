// broker/cli/docker_args.cpp: lull docker-args: the same for engines that do not know device specifications.
#include <fmt/format.h>

#include <memory>

#include "broker/cli/commands.h"
#include "broker/cli/containers.h"
#include "broker/cli/show.h"
#include "protocol/words.h"

namespace lull::cli {

Action set_up_docker_args(Arguments& arguments, const Context& context) {
  auto klass = std::make_shared<std::string>();
  std::vector<std::string> classes;
  for (const auto each : all_classes) classes.emplace_back(name_of(each));
  arguments.choice("class", classes, *klass, "what the container runs");
  arguments.about("docker run --gpus all $(lull docker-args training) IMAGE");
  return [klass, &context] {
    fmt::print("{}\n", docker_arguments(installed_paths(context.runtime_dir), *klass));
    return ok;
  };
}

}  // namespace lull::cli
