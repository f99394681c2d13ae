// Prints how many million thread instructions one core executes in a second of its time, as JSON.

#include <time.h>

#include <cstdio>
#include <string>
#include <vector>

#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/test_kernels.h"

namespace {

using namespace lull::ptx;

struct Case {
  const char* name;
  std::string_view text;
  test::Arguments arguments;
  unsigned blocks;
  double elements;  // of a launch
};

constexpr double kSeconds = 0.5;  // of every measurement

// Of this thread: other work on the machine does not count.
double processor_seconds() {
  timespec now{};
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);  // cannot fail: every Linux has it
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// False if the kernel does not run.
bool measure(const Case& bench, bool is_last) {
  const auto parsed = parse(std::string(test::kHeader) + std::string(bench.text));
  const auto* const module = std::get_if<Module>(&parsed);
  if (module == nullptr) {
    const auto& error = std::get<Error>(parsed);
    std::fprintf(stderr, "%s: %d:%d: %s\n", bench.name, error.line, error.column, error.message.c_str());
    return false;
  }
  std::uint64_t executed = 0, total = 0;
  const Launch launch{
      .grid = {bench.blocks, 1, 1}, .block = {256, 1, 1}, .parameters = bench.arguments.data(), .executed = &executed};
  unsigned launches = 0;
  double elapsed = 0;
  const double start = processor_seconds();
  do {
    const Outcome outcome = run(*module, module->kernels[0], launch);
    if (outcome != Outcome::ok) {
      std::fprintf(stderr, "%s: %s\n", bench.name, std::string(name_of(outcome)).c_str());
      return false;
    }
    total += executed;
    ++launches;
    elapsed = processor_seconds() - start;
  } while (elapsed < kSeconds);
  std::printf("  \"%s\": {\"million_thread_instructions_per_second\": %.0f, \"million_elements_per_second\": %.1f}%s\n",
              bench.name, static_cast<double>(total) / elapsed / 1e6, bench.elements * launches / elapsed / 1e6,
              is_last ? "" : ",");
  return true;
}

}  // namespace

int main() {
  constexpr unsigned kElements = 1U << 20;
  constexpr unsigned kChunks = 2048;
  std::vector<float> w(kElements, 1.0F), v(kElements, 0.5F);
  std::vector<std::uint64_t> data(kChunks * 128, 7), out(kChunks * 2);
  const Case cases[] = {
      {"saxpy", test::kSaxpy, test::Arguments(w.data(), v.data(), 0.001F, kElements), kElements / 256, kElements},
      {"sgd", test::kSgd, test::Arguments(w.data(), v.data(), kElements, 3U, 0.9F, 0.01F), 64, kElements},
      {"checksum", test::kChecksum, test::Arguments(data.data(), out.data(), kChunks * 256), 64, kChunks * 256},
      {"hash128", test::kHash, test::Arguments(data.data(), out.data(), kChunks), kChunks / 256, kChunks * 64},
  };
  std::printf("{\n");
  bool all_ran = true;
  for (const Case& bench : cases) all_ran = measure(bench, &bench == std::end(cases) - 1) && all_ran;
  std::printf("}\n");
  return all_ran ? 0 : 1;
}
