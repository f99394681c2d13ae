// journal-mark FILE TEXT [NUMBER]: writes a mark into a journal, for tests that are scripts.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/driver/journal/journal.h"

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4 || std::strlen(argv[2]) > 16 || !*argv[2]) {
    std::fprintf(stderr, "usage: journal-mark FILE TEXT [NUMBER]   (TEXT: 1 to 16 characters)\n");
    return 2;
  }
  if (lull::sim::mark_journal(argv[1], argv[2], argc == 4 ? std::atoi(argv[3]) : 0)) return 0;
  std::fprintf(stderr, "journal-mark: cannot write a mark into %s: %s\n", argv[1], std::strerror(errno));
  return 1;
}
