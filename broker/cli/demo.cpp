// broker/cli/demo.cpp: lull demo: what scripts/demo runs, where it has been installed (meson's option `demo`).
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "broker/cli/arguments.h"
#include "broker/cli/commands.h"

namespace lull::cli {
namespace {

struct DemoOptions {
  std::string requests, gpu, result, trace, picture;
};

// Returns only when it fails.
int demo(const DemoOptions& options) {
  const std::string place = LULL_DEMO_DIR, program = place + "/tests/demo/demo.py";
  if (::access(program.c_str(), R_OK) != 0)
    return complain(failure,
                    fmt::format("the demonstration is not installed: there is no {}. Install Lull as it is built "
                                "with `meson setup -Ddemo=true`, or run scripts/demo in its source tree",
                                program));
  std::vector<std::string> words = {"python3", program, "--dir", place + "/build"};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {name, value});
  };
  add("--requests", options.requests);
  add("--gpu", options.gpu);
  add("--json", options.result);
  add("--trace", options.trace);
  add("--picture", options.picture);
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  (void)::setenv("PYTHONDONTWRITEBYTECODE", "1", 1);  // beside what is installed
  (void)::execvp(arguments[0], arguments.data());
  const int why = errno;
  return complain(why == ENOENT ? not_found : cannot_execute,
                  fmt::format("cannot run python3, which the demonstration needs: {}", std::strerror(why)));
}

}  // namespace

Action set_up_demo(Arguments& arguments, const Context&) {
  auto options = std::make_shared<DemoOptions>();
  arguments.about(
      "A trainer has the card, requests for a service take it away and give it back, and every byte of the trainer's "
      "result is compared with an undisturbed run. Without a GPU on a simulated one. It starts an lulld of its own, "
      "and "
      "touches no other.");
  arguments.option("--requests", Takes::text, options->requests, "requests to send (default: 10)");
  arguments.option("--gpu", Takes::text, options->gpu, "real or simulated (default: a real one if there is one)");
  arguments.option("--json", Takes::file, options->result,
                   "write the result here as one JSON object; - is standard output");
  arguments.option("--trace", Takes::file, options->trace, "write what happened for ui.perfetto.dev");
  arguments.option("--picture", Takes::file, options->picture, "draw the last preemption, as SVG");
  return [options] { return demo(*options); };
}

}  // namespace lull::cli
