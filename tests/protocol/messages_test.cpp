#include "protocol/messages.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

using namespace lull;

namespace {

template <class M>
std::optional<Message> reparse(const M& m, std::size_t bytes = sizeof(M)) {
  std::vector<std::byte> raw(bytes);
  std::memcpy(raw.data(), &m, std::min(bytes, sizeof m));
  return parse_message(raw);
}

}  // namespace

TEST_CASE("a hello arrives as it was sent") {
  auto hello = make_message<Hello>();
  hello.major = 1;
  std::strcpy(hello.tenant, "faces");
  const auto message = reparse(hello);
  REQUIRE(message);
  CHECK(std::strcmp(std::get<Hello>(*message).tenant, "faces") == 0);
}

TEST_CASE("a message shorter than its type, or of another length than it says, is refused") {
  auto hello = make_message<Hello>();
  CHECK_FALSE(reparse(hello, sizeof hello - 1));
  hello.header.bytes -= 8;
  CHECK_FALSE(reparse(hello, hello.header.bytes));
  CHECK_FALSE(parse_message({}));
}

TEST_CASE("a longer message of a newer minor version is understood as far as it is known") {
  auto attach = make_message<Attach>();
  attach.slot = 3;
  attach.header.bytes += 16;
  const auto message = reparse(attach, attach.header.bytes);
  REQUIRE(message);
  CHECK(std::get<Attach>(*message).slot == 3);
}

TEST_CASE("an arena of the first minor version has no number, and one of this version keeps its own") {
  auto arena = make_message<Arena>();
  arena.bytes = 4u << 20;
  arena.number = 77;
  CHECK(std::get<Arena>(*reparse(arena)).number == 77);
  arena.header.bytes = 16;
  const auto older = reparse(arena, 16);
  REQUIRE(older);
  CHECK(std::get<Arena>(*older).bytes == 4u << 20);
  CHECK(std::get<Arena>(*older).number == 0);
  arena.header.bytes = 12;
  CHECK_FALSE(reparse(arena, 12));
}

TEST_CASE("what is returned has a number and a size") {
  auto returned = make_message<Returned>();
  returned.number = 77;
  returned.bytes = 2u << 20;
  CHECK(std::get<Returned>(*reparse(returned)).number == 77);
  returned.bytes = 4096;
  CHECK_FALSE(reparse(returned));
  returned.bytes = 2u << 20;
  returned.number = 0;
  CHECK_FALSE(reparse(returned));
}

TEST_CASE("a step of an arena to disk and back is one that there is, of an arena that can be") {
  auto spill = make_message<Spill>();
  spill.number = 77;
  spill.bytes = 4u << 20;
  spill.step = static_cast<std::uint32_t>(SpillStep::resumed);
  spill.turn = 3;
  spill.changing = 2u << 20;
  CHECK(std::get<Spill>(*reparse(spill)).turn == 3);
  const auto refused = [](Spill wrong, auto change) {
    change(wrong);
    return !reparse(wrong);
  };
  CHECK(refused(spill, [](Spill& s) { s.step = 4; }));
  CHECK(refused(spill, [](Spill& s) { s.number = 0; }));
  CHECK(refused(spill, [](Spill& s) { s.bytes = 4096; }));
  CHECK(refused(spill, [](Spill& s) { s.changing = s.bytes + 1; }));
  auto spilled = make_message<Spilled>();
  CHECK_FALSE(reparse(spilled));
  spilled.number = 77;
  spilled.bytes = 2u << 20;
  spilled.sum[1] = 5;
  CHECK(std::get<Spilled>(*reparse(spilled)).sum[1] == 5);
  auto filled = make_message<Filled>();
  CHECK_FALSE(reparse(filled));
  filled.number = 77;
  filled.lost = 1;
  CHECK(std::get<Filled>(*reparse(filled)).lost == 1);
}

TEST_CASE("an unknown type is skipped, not refused") {
  Header header{999, sizeof header, 0};
  const auto message = reparse(header);
  REQUIRE(message);
  CHECK(std::holds_alternative<Unknown>(*message));
}

TEST_CASE("text without an end is refused and strange characters are replaced") {
  auto hello = make_message<Hello>();
  std::strcpy(hello.tenant, "a\x1b[31m\xff");
  const auto message = reparse(hello);
  REQUIRE(message);
  CHECK(std::strcmp(std::get<Hello>(*message).tenant, "a?[31m?") == 0);
  std::memset(hello.tenant, 'x', sizeof hello.tenant);
  CHECK_FALSE(reparse(hello));
}

TEST_CASE("a slot outside the page and an arena of odd size are refused") {
  auto attach = make_message<Attach>();
  attach.slot = max_gpus;
  CHECK_FALSE(reparse(attach));
  auto arena = make_message<Arena>();
  CHECK_FALSE(reparse(arena));
  arena.bytes = 4096;
  CHECK_FALSE(reparse(arena));
}

TEST_CASE("random bytes never parse into unterminated text") {
  std::mt19937 random(20260101);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> raw(random() % 256);
    for (auto& byte : raw) byte = static_cast<std::byte>(random());
    if (raw.size() >= sizeof(Header)) {
      const Header header{static_cast<std::uint16_t>(random() % 11), static_cast<std::uint16_t>(raw.size()), 0};
      std::memcpy(raw.data(), &header, sizeof header);
    }
    const auto message = parse_message(raw);
    if (!message) continue;
    if (const auto* refused = std::get_if<Refused>(&*message))
      CHECK(std::memchr(refused->sentence, 0, sizeof refused->sentence) != nullptr);
    if (const auto* hello = std::get_if<Hello>(&*message))
      CHECK(std::memchr(hello->tenant, 0, sizeof hello->tenant) != nullptr);
  }
}

TEST_CASE("majors must agree and the smaller minor is spoken") {
  CHECK(common_minor(protocol_major, protocol_minor + 5) == protocol_minor);
  CHECK(common_minor(protocol_major, 0) == 0);
  CHECK_FALSE(common_minor(protocol_major + 1, 0));
}
