// tests/workloads/load.cpp: sends requests to a service and writes one JSON line for each.
//
// {"request":1,"status":200,"ok":true,"sent_ns":..,"answered_ns":..,"answer":{..}}; times are CLOCK_MONOTONIC.
#include <httplib.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "tests/workloads/gpu.h"

namespace lull::workload {
namespace {

struct Options {
  std::string host = "127.0.0.1", path = "/infer";
  int port = 8000;
  unsigned requests = 1, threads = 1;
  double pause_s = 0, timeout_s = 120;
};

nlohmann::json send(httplib::Client& client, const Options& o, unsigned number) {
  nlohmann::json line = {{"request", number}, {"ok", false}};
  line["sent_ns"] = now_ns();
  const auto response = client.Post(o.path.c_str(), "request " + std::to_string(number), "text/plain");
  line["answered_ns"] = now_ns();
  if (!response) {
    line["error"] = httplib::to_string(response.error());
    return line;
  }
  line["status"] = response->status;
  auto answer = nlohmann::json::parse(response->body, nullptr, /*allow_exceptions=*/false);
  line["ok"] = response->status == 200 && answer.is_object() && answer.value("ok", false);
  line["answer"] = answer.is_discarded() ? nlohmann::json(response->body) : std::move(answer);
  return line;
}

// Returns how many requests were not answered rightly.
unsigned generate(const Options& o) {
  std::atomic<unsigned> next{0}, failed{0};
  std::mutex output;
  const auto work = [&] {
    for (unsigned i = next++; i < o.requests; i = next++) {
      if (i >= o.threads) std::this_thread::sleep_for(std::chrono::duration<double>(o.pause_s));
      httplib::Client client(o.host, o.port);  // a connection for each request, as separate users make
      client.set_read_timeout(static_cast<time_t>(o.timeout_s), 0);
      const nlohmann::json line = send(client, o, i + 1);
      if (!line["ok"].get<bool>()) ++failed;
      const std::lock_guard lock(output);
      std::printf("%s\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < o.threads; ++i) threads.emplace_back(work);
  for (std::thread& t : threads) t.join();
  return failed;
}

int main_of(int argc, char** argv) {
  Options o;
  CLI::App app("Sends requests to a service and writes one JSON line for each.");
  app.add_option("--host", o.host)->capture_default_str();
  app.add_option("--port", o.port)->check(CLI::Range(1, 65535))->capture_default_str();
  app.add_option("--path", o.path)->capture_default_str();
  app.add_option("--requests", o.requests)->capture_default_str();
  app.add_option("--threads", o.threads, "requests in flight at a time")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--pause", o.pause_s, "seconds between an answer and the next request")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--timeout", o.timeout_s, "seconds to wait for an answer")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return generate(o) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lull::workload

int main(int argc, char** argv) { return lull::workload::main_of(argc, argv); }
