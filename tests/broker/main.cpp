// The broker runs its own program with --touch-arena and --measure-card; in these tests that is this one.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <string_view>

#include "broker/arenas.h"
#include "broker/measure.h"

int main(int argc, char** argv) {
  if (argc >= 4 && std::string_view(argv[1]) == "--touch-arena")
    return lull::touch_arena(std::atoi(argv[2]), std::strtoull(argv[3], nullptr, 10),
                             argc > 4 ? std::optional(static_cast<unsigned>(std::atoi(argv[4]))) : std::nullopt);
  if (argc == 4 && std::string_view(argv[1]) == "--measure-card")
    return lull::measure_card(argv[2], std::atoi(argv[3]));
  return doctest::Context(argc, argv).run();
}
