// tests/workloads/service.cpp: an inference service over HTTP whose weights fill much of a card. It knows nothing of
// Lull.
//
//   POST /infer        a forward pass with the body as input; answers its checksum, the right one, and when what was
//   done POST /grow?bytes=  the same, after allocating and loading more weights inside the request GET  /health touches
//   no GPU
//
// The checksum is compared with one computed on the host from the formula of the weights, so lost bytes show.
#include <httplib.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/workloads/gpu.h"
#include "tests/workloads/kernels.h"

namespace lull::workload {
namespace {

struct Options {
  int device = 0;
  std::string bytes_text;
  double fraction = 0.6;
  std::string host = "127.0.0.1";
  int port = 8000;
  std::uint32_t samples = 512u << 10;
};

struct Times {
  std::uint64_t received_ns, first_kernel_ns, kernel_done_ns;
};
struct Answer {
  std::uint64_t checksum, expected;
  Times times;
};

constexpr std::uint32_t weight(std::uint32_t salt, std::uint32_t index) { return mix(index * 0x9e3779b1u + salt); }

std::uint32_t input_of(const std::string& body) {
  std::uint32_t h = 2166136261u;
  for (const char c : body) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return mix(h);
}

class Model {
 public:
  Model(const Gpu& gpu, std::size_t bytes, std::uint32_t samples)
      : gpu_(gpu), module_(forward_ptx), forward_(module_.function("forward")), result_(8), samples_(samples) {
    add(bytes);
  }

  void add(std::size_t bytes) {
    for (const std::size_t size : layer_bytes(bytes)) {
      salts_.push_back(mix(static_cast<std::uint32_t>(salts_.size()) + 77));
      Buffer& buffer = layers_.emplace_back(size);
      buffer.upload([salt = salts_.back()](std::size_t first, std::span<std::uint32_t> words) {
        auto index = static_cast<std::uint32_t>(first);
        for (std::uint32_t& word : words) word = weight(salt, index++);
      });
    }
    bytes_ += bytes;
  }

  // One request at a time, from any thread. `grow_bytes` are added first.
  Answer infer(std::uint32_t input, std::size_t grow_bytes) {
    Answer answer{};
    answer.times.received_ns = now_ns();
    const std::lock_guard turn(one_at_a_time_);
    gpu_.make_current();
    if (grow_bytes) add(grow_bytes);
    CU(cuMemsetD32(result_.address(), 0, result_.words()));
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      launch(i, input);
      if (i == 0) answer.times.first_kernel_ns = now_ns();
    }
    CU(cuMemcpyDtoH(&answer.checksum, result_.address(), sizeof answer.checksum));
    answer.times.kernel_done_ns = now_ns();
    for (std::size_t i = 0; i < layers_.size(); ++i) answer.expected += expected(i, input);
    return answer;
  }

  std::size_t bytes() const { return bytes_; }

 private:
  struct Samples {
    std::uint32_t first, stride, count;
  };
  // Every layer is read from end to end in strides; where it starts depends on the input.
  Samples samples_of(std::size_t layer, std::uint32_t input) const {
    const std::uint32_t words = layers_[layer].words();
    const std::uint32_t wanted = std::max(1u, samples_ / static_cast<std::uint32_t>(layers_.size()));
    const std::uint32_t stride = std::max(1u, words / wanted);
    const std::uint32_t first = input % stride;
    return {first, stride, (words - first + stride - 1) / stride};
  }

  void launch(std::size_t layer, std::uint32_t input) {
    Samples s = samples_of(layer, input);
    CUdeviceptr weights = layers_[layer].address(), result = result_.address();
    void* arguments[] = {&weights, &result, &s.first, &s.stride, &s.count, &input};
    constexpr unsigned threads = 128, samples_per_thread = 8;
    const unsigned blocks = std::max(1u, s.count / (threads * samples_per_thread));
    CU(cuLaunchKernel(forward_, blocks, 1, 1, threads, 1, 1, 0, nullptr, arguments, nullptr));
  }

  std::uint64_t expected(std::size_t layer, std::uint32_t input) const {
    const Samples s = samples_of(layer, input);
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0, at = s.first; i < s.count; ++i, at += s.stride) {
      sum += std::uint64_t{weight(salts_[layer], at)} * mix(at ^ input);
    }
    return sum;
  }

  const Gpu& gpu_;
  Module module_;
  CUfunction forward_;
  Buffer result_;
  std::vector<Buffer> layers_;
  std::vector<std::uint32_t> salts_;
  std::uint32_t samples_;
  std::size_t bytes_ = 0;
  std::mutex one_at_a_time_;
};

void answer_request(Model& model, const httplib::Request& request, std::size_t grow_bytes,
                    httplib::Response& response) {
  const Answer a = model.infer(input_of(request.body), grow_bytes);
  const nlohmann::json body = {{"ok", a.checksum == a.expected},
                               {"checksum", a.checksum},
                               {"expected", a.expected},
                               {"bytes", model.bytes()},
                               {"received_ns", a.times.received_ns},
                               {"first_kernel_ns", a.times.first_kernel_ns},
                               {"kernel_done_ns", a.times.kernel_done_ns},
                               {"answered_ns", now_ns()}};
  response.set_content(body.dump() + "\n", "application/json");
}

void add_routes(httplib::Server& server, Model& model) {
  server.Get("/health", [](const httplib::Request&, httplib::Response& r) { r.set_content("fine\n", "text/plain"); });
  server.Post("/infer", [&](const httplib::Request& q, httplib::Response& r) { answer_request(model, q, 0, r); });
  server.Post("/grow", [&](const httplib::Request& q, httplib::Response& r) {
    answer_request(model, q, parse_bytes(q.get_param_value("bytes")), r);
  });
  server.set_exception_handler([](const httplib::Request&, httplib::Response& r, std::exception_ptr failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& e) {
      r.status = 500;
      r.set_content(nlohmann::json{{"ok", false}, {"error", e.what()}}.dump() + "\n", "application/json");
    } catch (...) {
      r.status = 500;
    }
  });
}

int bind(httplib::Server& server, const Options& o) {
  const int port = o.port == 0 ? server.bind_to_any_port(o.host.c_str())
                               : (server.bind_to_port(o.host.c_str(), o.port) ? o.port : -1);
  if (port < 0) throw std::runtime_error("cannot listen on " + o.host + ":" + std::to_string(o.port));
  return port;
}

// SIGTERM and SIGINT end the service after the requests in flight; while it still loads, at once.
class Ending {
 public:
  // To be made before any other thread, so that all of them leave the signals to this one.
  Ending() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([this, signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      httplib::Server* server = server_.load();
      if (!server) std::_Exit(0);
      while (!server->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // stop() would miss it
      server->stop();
    }).detach();
  }
  void serves(httplib::Server& server) { server_ = &server; }

 private:
  std::atomic<httplib::Server*> server_{nullptr};
};

void run(const Options& o, Ending& ending) {
  const Gpu gpu(o.device);
  const std::size_t bytes = o.bytes_text.empty()
                                ? static_cast<std::size_t>(static_cast<double>(gpu.total_bytes()) * o.fraction)
                                : parse_bytes(o.bytes_text);
  std::printf("loading %zu MiB onto %s\n", bytes >> 20, gpu.name().c_str());
  Model model(gpu, bytes, o.samples);
  static httplib::Server server;  // outlives the thread that stops it
  add_routes(server, model);
  const int port = bind(server, o);
  ending.serves(server);
  std::printf("listening on %s:%d\n", o.host.c_str(), port);
  if (!server.listen_after_bind()) throw std::runtime_error("cannot accept connections");
  std::printf("ended\n");
}

int main_of(int argc, char** argv) {
  Options o;
  CLI::App app("An inference service over HTTP whose weights fill much of the card.");
  app.add_option("--device", o.device, "number of the GPU")->capture_default_str();
  app.add_option("--bytes", o.bytes_text, "device memory for weights, such as 600M (default: --fraction of the card)");
  app.add_option("--fraction", o.fraction, "part of the card to use")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str();
  app.add_option("--host", o.host, "address to listen on")->capture_default_str();
  app.add_option("--port", o.port, "port to listen on (0: any; it is printed)")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--samples", o.samples, "weights a request reads, spread over all of them")
      ->check(CLI::Range(1u, 1u << 30))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  static Ending ending;  // its thread lives as long as the process
  try {
    run(o, ending);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "service: %s\n", e.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace lull::workload

int main(int argc, char** argv) { return lull::workload::main_of(argc, argv); }
