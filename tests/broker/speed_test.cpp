// What is measured of a card: figures that are kept, read back, and used to predict; and a helper that cannot measure.
#include "broker/speed.h"

#include <doctest/doctest.h>
#include <poll.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "broker/measure.h"
#include "broker/units.h"

using namespace lull;
using policy::Bytes;
using policy::ms;
using policy::second;
using policy::Time;

namespace {

constexpr std::uint64_t gb = 1'000'000'000;
constexpr const char* uuid = "GPU-01234567-89ab-cdef-0123-456789abcdef";

CardSpeed typical() {
  return {25 * gb, 24 * gb, 18 * gb, 17 * gb, 8 * mib, {{2 * mib, 200'000, 50'000}, {128 * mib, 500'000, 300'000}},
          100 * ms};
}

struct Directory {
  std::string path;
  Directory() {
    char name[] = "/tmp/lull-speed-XXXXXX";
    REQUIRE(::mkdtemp(name));
    path = name;
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

bool close_to(Time value, Time expected) {
  return value >= expected - expected / 1000 && value <= expected + expected / 1000;
}

}  // namespace

TEST_CASE("one way is predicted by its own rate and one chunk's calls") {
  const auto s = typical();
  CHECK(close_to(predict_move(s, 0, 24 * gb, 128 * mib), second + 500'000));
  CHECK(close_to(predict_move(s, 25 * gb, 0, 128 * mib), second + 300'000));
  CHECK(predict_move(s, 0, 0, 128 * mib) == 0);
}

TEST_CASE("a piece is twice the knee, within bounds") {
  auto s = typical();
  s.knee = 5 * mib;
  CHECK(piece_of(s) == 10 * mib);
  s.knee = 64 << 10;
  CHECK(piece_of(s) == 8 * mib);
  s.knee = 1024 * mib;
  CHECK(piece_of(s) == 64 * mib);
}

TEST_CASE("both ways are predicted by what they do together, then by what is left of one") {
  CardSpeed s{10 * gb, 10 * gb, 5 * gb, 5 * gb, mib, {}, 0};
  // The first chunk out alone, then 5 GB each way at 5 GB/s.
  CHECK(close_to(predict_move(s, 5 * gb + 128 * mib, 5 * gb, 128 * mib), second + 128 * mib * second / (10 * gb)));
  // 5 GB together in a second, the other 10 GB alone in another.
  CHECK(close_to(predict_move(s, 5 * gb, 15 * gb, 1), 2 * second));
  s.to_host_both = s.to_device_both = 10 * gb;  // a link that does not mind
  CHECK(close_to(predict_move(s, 10 * gb, 10 * gb, 1), second));
}

TEST_CASE("calls of a size that was not measured are taken in proportion from the nearest") {
  const auto s = typical();
  CHECK(s.calls_for(128 * mib).make == 500'000);
  CHECK(s.calls_for(64 * mib).make == 250'000);
  CHECK(s.calls_for(4 * mib).drop == 100'000);
  CHECK(CardSpeed{}.calls_for(mib).make == 0);
}

TEST_CASE("what is kept is read back, of this card and driver only") {
  const Directory directory;
  const SpeedStore store(directory.path);
  CHECK_FALSE(store.load(uuid, "580"));
  REQUIRE(store.save({uuid, "580", typical()}));
  const auto read = store.load(uuid, "580");
  REQUIRE(read);
  CHECK(json_of(*read) == json_of(typical()));
  CHECK_FALSE(store.load(uuid, "581"));
  std::filesystem::rename(directory.path + "/card-" + uuid + ".json", directory.path + "/card-GPU-other.json");
  CHECK_FALSE(store.load("GPU-other", "580"));
  CHECK_FALSE(SpeedStore("").load(uuid, "580"));
  CHECK_FALSE(SpeedStore("/nonexistent").save({uuid, "580", typical()}));
}

TEST_CASE("figures that make no sense are not believed") {
  const auto good = json_of(typical());
  CHECK(parse_speed(good));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto bad = good;
    bad[key] = value;
    return parse_speed(bad).has_value();
  };
  CHECK_FALSE(with("to_host", 0));
  CHECK_FALSE(with("to_host", -5));
  CHECK_FALSE(with("to_host", "fast"));
  CHECK_FALSE(with("to_device", 1.5));
  CHECK_FALSE(with("to_device_both", 1ull << 60));
  CHECK_FALSE(with("knee", 0));
  CHECK_FALSE(with("calls", nullptr));
  CHECK_FALSE(with("calls", {{{"chunk", 0}, {"make_ns", 1}, {"drop_ns", 1}}}));
  CHECK_FALSE(with("calls", nlohmann::json::array_t(1000, {{"chunk", 1}, {"make_ns", 1}, {"drop_ns", 1}})));
  CHECK_FALSE(parse_speed(nlohmann::json()));
  CHECK_FALSE(parse_speed(nlohmann::json::parse("[1]")));
  CHECK_FALSE(parse_stored(""));
  CHECK_FALSE(parse_stored("{\"schema\":2}"));
  CHECK_FALSE(parse_stored(std::string(100000, '[')));
}

TEST_CASE("a helper without a driver says why, and the next question is answered, too") {
  CardMeasurer measurer(SpeedStore(""), "580");
  const auto ask = [&](const std::string& which) {
    measurer.start(which);
    CHECK(measurer.busy());
    pollfd wait{measurer.fd(), POLLIN, 0};
    REQUIRE(::poll(&wait, 1, 30'000) == 1);
    auto answer = measurer.take();
    REQUIRE(answer);
    CHECK_FALSE(measurer.busy());
    return *answer;
  };
  const auto first = ask("nonsense");
  CHECK(first.uuid == "nonsense");
  CHECK_FALSE(first.speed);
  CHECK(first.why_not == "no uuid");
  const auto second_answer = ask(uuid);
  CHECK_FALSE(second_answer.speed);
  CHECK(second_answer.why_not.size() > 5);
}

TEST_CASE("a measurement that is called off answers at once and leaves no process") {
  CardMeasurer measurer(SpeedStore(""), "580");
  measurer.start(uuid);
  measurer.cancel();
  pollfd wait{measurer.fd(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 30'000) == 1);
  CHECK_FALSE(measurer.take()->speed);
}
