// tests/workloads/trainer.cpp: a training job that fills most of a card. It knows nothing of Lull.
//
// Momentum SGD on a large vector of weights, kept in layers of several sizes. Each step works on one window of every
// layer, which rotates, so that a step is short on the simulated card and every part of the memory is used in turn.
// Two runs of the same number of steps end with the same bytes.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>

#include "tests/workloads/checkpoint.h"
#include "tests/workloads/gpu.h"
#include "tests/workloads/kernels.h"

namespace lull::workload {
namespace {

volatile sig_atomic_t asked_to_stop = 0;
void on_term(int) { asked_to_stop = 1; }

struct Options {
  int device = 0;
  std::string bytes_text;
  double fraction = 0.8;
  bool of_free = false;
  std::uint64_t steps = 0;  // 0: until told to stop
  double seconds = 0;       // 0: no limit
  std::uint32_t window = 2u << 20;
  std::uint64_t print_every = 10;
  bool streams = false;
  std::string out, save_on_term, resume, progress;
};

struct StepResult {
  double loss;
  std::uint64_t checksum;
};

class Trainer {
 public:
  Trainer(std::size_t bytes, std::uint32_t window, Stream::Kind kind)
      : module_(sgd_ptx), sgd_(module_.function("sgd")), stream_(kind), stats_(16), window_(window) {
    std::uint32_t salt = 0x51ed270bu;
    for (const std::size_t size : layer_bytes(bytes / 2)) {
      layers_.push_back({Buffer(size), Buffer(size), salt = mix(salt + 1)});
    }
  }

  std::vector<Layer>& layers() { return layers_; }

  void initialise() {
    for (Layer& layer : layers_) {
      fill(layer.weights, layer.salt ^ 0x1234u, 1.0f);
      fill(layer.momentum, layer.salt ^ 0x5678u, 0.01f);  // not zero: lost bytes must show everywhere
    }
  }

  StepResult step(std::uint64_t number) {
    CU(cuMemsetD32(stats_.address(), 0, stats_.words()));
    CU(cuStreamSynchronize(nullptr));  // an own stream does not wait for the legacy one
    std::uint64_t elements = 0;
    for (Layer& layer : layers_) elements += launch(layer, number);
    CU(cuStreamSynchronize(stream_.get()));
    std::uint64_t sums[2];
    CU(cuMemcpyDtoH(sums, stats_.address(), sizeof sums));
    return {static_cast<double>(sums[0]) / (1 << 20) / static_cast<double>(elements), sums[1]};
  }

 private:
  static void fill(Buffer& buffer, std::uint32_t salt, float scale) {
    buffer.upload([&](std::size_t first, std::span<std::uint32_t> words) {
      auto index = static_cast<std::uint32_t>(first);
      for (std::uint32_t& word : words) {
        const float uniform = static_cast<float>(mix(index++ ^ salt) >> 8) * 0x1p-24f - 0.5f;
        word = std::bit_cast<std::uint32_t>(uniform * scale);
      }
    });
  }

  // Large layers take turns in large parts of the window; each layer's part is at most the layer.
  std::uint32_t launch(Layer& layer, std::uint64_t number) {
    const std::uint32_t words = layer.weights.words();
    std::uint32_t count = std::min(words, std::max(1u, window_ / static_cast<std::uint32_t>(layers_.size())));
    const std::uint32_t windows = (words + count - 1) / count;
    // An odd stride near the golden section visits all windows, far from each other.
    const auto stride = static_cast<std::uint64_t>(windows * 0.618) | 1u;
    std::uint32_t first = static_cast<std::uint32_t>(number * stride % windows) * count;
    count = std::min(count, words - first);

    CUdeviceptr weights = layer.weights.address(), momentum = layer.momentum.address(), stats = stats_.address();
    auto step = static_cast<std::uint32_t>(number);
    void* arguments[] = {&weights, &momentum, &stats, &first, &count, &layer.salt, &step};
    constexpr unsigned threads = 128, elements_per_thread = 8;
    const unsigned blocks = std::max(1u, count / (threads * elements_per_thread));
    CU(cuLaunchKernel(sgd_, blocks, 1, 1, threads, 1, 1, 0, stream_.get(), arguments, nullptr));
    return count;
  }

  Module module_;
  CUfunction sgd_;
  Stream stream_;
  Buffer stats_;
  std::vector<Layer> layers_;
  std::uint32_t window_;
};

// One line for each step, so that a reader sees afterwards when the program stood still.
class Progress {
 public:
  explicit Progress(const std::string& path) {
    if (path.empty()) return;
    file_.reset(std::fopen(path.c_str(), "w"));
    if (!file_) throw std::runtime_error(path + ": cannot be written");
    std::setvbuf(file_.get(), nullptr, _IOLBF, 0);
  }
  void step(std::uint64_t number, std::uint64_t start_ns, std::uint64_t end_ns) {
    if (!file_) return;
    std::fprintf(file_.get(), "{\"step\":%lu,\"start_ns\":%lu,\"end_ns\":%lu}\n", number, start_ns, end_ns);
  }

 private:
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::unique_ptr<std::FILE, Close> file_;
};

std::uint64_t train(Trainer& trainer, std::uint64_t done, const Options& o) {
  Progress progress(o.progress);
  const std::uint64_t begin_ns = now_ns();
  while ((o.steps == 0 || done < o.steps) && !asked_to_stop) {
    const std::uint64_t start_ns = now_ns();
    if (o.seconds > 0 && static_cast<double>(start_ns - begin_ns) > o.seconds * 1e9) break;
    const StepResult result = trainer.step(++done);
    progress.step(done, start_ns, now_ns());
    if (done % o.print_every == 0)
      std::printf("step %lu loss %.6f checksum %016lx\n", done, result.loss, result.checksum);
  }
  return done;
}

void run(const Options& o) {
  if (!o.save_on_term.empty()) {
    struct sigaction action {};
    action.sa_handler = on_term;  // no SA_RESTART, as Python sets its handlers
    sigaction(SIGTERM, &action, nullptr);
  }
  const Gpu gpu(o.device);
  const auto part_of = static_cast<double>(o.of_free ? gpu.free_bytes() : gpu.total_bytes());
  const std::size_t bytes =
      o.bytes_text.empty() ? static_cast<std::size_t>(part_of * o.fraction) : parse_bytes(o.bytes_text);
  std::printf("training %zu MiB on %s\n", bytes >> 20, gpu.name().c_str());
  Trainer trainer(bytes, o.window, o.streams ? Stream::Kind::own : Stream::Kind::legacy);
  std::uint64_t done = 0;
  if (o.resume.empty()) {
    trainer.initialise();
  } else {
    done = restore(o.resume, trainer.layers());
  }
  std::printf("ready at step %lu, with %zu bytes\n", done, bytes);
  done = train(trainer, done, o);
  if (asked_to_stop) {
    save(o.save_on_term, done, trainer.layers());
    std::printf("told to stop: saved step %lu to %s\n", done, o.save_on_term.c_str());
    return;
  }
  if (!o.out.empty()) save(o.out, done, trainer.layers());
  std::printf("finished after step %lu\n", done);
}

int main_of(int argc, char** argv) {
  Options o;
  CLI::App app("A training job: momentum SGD on a vector that fills most of the card.");
  app.add_option("--device", o.device, "number of the GPU")->capture_default_str();
  app.add_option("--bytes", o.bytes_text, "device memory to use, such as 800M (default: --fraction of the card)");
  app.add_option("--fraction", o.fraction, "part of the card to use")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  app.add_flag("--of-free", o.of_free, "--fraction is of the memory that is free, not of all");
  app.add_option("--steps", o.steps, "stop after this step (0: run until told to stop)");
  app.add_option("--seconds", o.seconds, "stop after this time");
  app.add_option("--window", o.window, "elements a step works on")
      ->check(CLI::Range(1u, 1u << 28))
      ->capture_default_str();
  app.add_option("--print-every", o.print_every, "steps between lines")
      ->check(CLI::Range(1u, ~0u))
      ->capture_default_str();
  app.add_flag("--streams", o.streams, "launch into a stream of its own, not the default one");
  app.add_option("--out", o.out, "write the final weights and momentum here");
  app.add_option("--save-on-term", o.save_on_term, "on SIGTERM write the state here after the current step and end");
  app.add_option("--resume", o.resume, "go on from a state saved before");
  app.add_option("--progress", o.progress, "write begin and end of every step here, as JSON lines");
  CLI11_PARSE(app, argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  try {
    run(o);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "trainer: %s\n", e.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace lull::workload

int main(int argc, char** argv) { return lull::workload::main_of(argc, argv); }
