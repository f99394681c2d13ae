// The arena maker runs its own program with --touch-arena; in these tests that is this one.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <string_view>

#include "broker/arenas.h"

int main(int argc, char** argv) {
  if (argc >= 4 && std::string_view(argv[1]) == "--touch-arena")
    return lull::touch_arena(std::atoi(argv[2]), std::strtoull(argv[3], nullptr, 10),
                             argc > 4 ? std::optional(static_cast<unsigned>(std::atoi(argv[4]))) : std::nullopt);
  return doctest::Context(argc, argv).run();
}
