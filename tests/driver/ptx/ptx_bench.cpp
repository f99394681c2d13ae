// Prints how many million thread instructions a second one core executes, as JSON.

#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/driver/ptx/ptx.h"
#include "tests/driver/ptx/test_kernels.h"

namespace {

using namespace lull::ptx;

struct Arguments {
  std::vector<std::byte> bytes;

  template <class T>
  Arguments& add(T value) {
    const std::size_t at = (bytes.size() + sizeof value - 1) / sizeof value * sizeof value;
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return *this;
  }
};

struct Case {
  const char* name;
  std::string_view text;
  Arguments arguments;
  unsigned blocks;
  double elements;  // of a launch
};

constexpr double kSeconds = 0.5;  // of every measurement

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
  const Launch launch{.grid = {bench.blocks, 1, 1},
                      .block = {256, 1, 1},
                      .parameters = bench.arguments.bytes.data(),
                      .executed = &executed};
  unsigned launches = 0;
  double elapsed = 0;
  const auto start = std::chrono::steady_clock::now();
  do {
    const Outcome outcome = run(*module, module->kernels[0], launch);
    if (outcome != Outcome::ok) {
      std::fprintf(stderr, "%s: %s\n", bench.name, std::string(name_of(outcome)).c_str());
      return false;
    }
    total += executed;
    ++launches;
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
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
      {"saxpy", test::kSaxpy, Arguments{}.add(w.data()).add(v.data()).add(0.001F).add(kElements), kElements / 256,
       kElements},
      {"sgd", test::kSgd, Arguments{}.add(w.data()).add(v.data()).add(kElements).add(3U).add(0.9F).add(0.01F), 64,
       kElements},
      {"checksum", test::kChecksum, Arguments{}.add(data.data()).add(out.data()).add(kChunks * 256), 64, kChunks * 256},
      {"hash128", test::kHash, Arguments{}.add(data.data()).add(out.data()).add(kChunks), kChunks / 256, kChunks * 64},
  };
  std::printf("{\n");
  bool all_ran = true;
  for (const Case& bench : cases) all_ran = measure(bench, &bench == std::end(cases) - 1) && all_ran;
  std::printf("}\n");
  return all_ran ? 0 : 1;
}
