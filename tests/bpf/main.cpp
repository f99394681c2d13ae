// Where BPF is not permitted nothing here can be tested: say why, and let the test count as skipped.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "bpf/loader.h"

int main(int argc, char** argv) {
  if (::geteuid() != 0) {
    std::puts("skipped: the tests make network namespaces, raw sockets and BPF links: run them as root");
    return 77;
  }
  std::string why_not;
  if (!lull::Arrivals::load(&why_not)) {
    std::printf("skipped: %s\n", why_not.c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
