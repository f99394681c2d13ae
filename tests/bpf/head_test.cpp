// What the first bytes of a segment say, without a kernel: tables of segments, of which a TLS connection is a sequence.
#include "bpf/head.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace {

lull_head head_of(const std::string& bytes) {
  lull_head head{};
  std::memcpy(head.b, bytes.data(), std::min(bytes.size(), sizeof(head.b)));
  head.total = static_cast<__u32>(bytes.size());
  return head;
}

std::string record(char kind, std::size_t bytes, char first = 'x') {
  std::string all{kind, 3, 3, static_cast<char>(bytes >> 8), static_cast<char>(bytes)};
  return all + std::string(1, first) + std::string(bytes - 1, 'x');
}
const std::string hello = record(0x16, 512, 1), change = record(0x14, 1, 1), finished13 = record(0x17, 53),
                  key_exchange = record(0x16, 66, 0x10), finished12 = record(0x16, 40),
                  small_request = record(0x17, 50), request = record(0x17, 200), close_notify = record(0x17, 19);

struct Stream {
  __u32 stream = 0;
  bool in(const std::string& bytes) {
    const auto head = head_of(bytes);
    return lull_read_in(&stream, &head) == LULL_MEANS_NEW;
  }
  bool out(const std::string& bytes) const {
    const auto head = head_of(bytes);
    return lull_is_answer(stream, &head);
  }
};

__u32 method(const std::string& bytes) {
  const auto head = head_of(bytes);
  return lull_method_of(&head);
}
__u32 stream_of(const std::string& bytes) {
  const auto head = head_of(bytes);
  return lull_stream_of(&head);
}

}  // namespace

TEST_CASE("methods are capitals, a space and the beginning of a target") {
  CHECK(method("GET / HTTP/1.1") == LULL_METHOD_GET);
  CHECK(method("POST /infer HTTP/1.1") == LULL_METHOD_POST);
  CHECK(method("OPTIONS * HTTP/1.1") == LULL_METHOD_OPTIONS);
  CHECK(method("GET http://x/ HTTP/1.1") == LULL_METHOD_GET);
  CHECK(method("PROPFIND / HTTP/1.1") == LULL_METHOD_OTHER);
  for (const char* none :
       {"get / HTTP/1.1", "GET", "GET ", "GET x", "GO /", "PROPPATCHES / HTTP/1.1", "", "\r\n", "12 /x"})
    CHECK_MESSAGE(method(none) == LULL_METHOD_NONE, none);
}

TEST_CASE("a connection is known by its first bytes") {
  CHECK(stream_of("GET / HTTP/1.1\r\n") == LULL_STREAM_HTTP1);
  CHECK(stream_of("PO") == LULL_STREAM_HTTP1);
  CHECK(stream_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == LULL_STREAM_HTTP2);
  CHECK(stream_of(hello) == (LULL_STREAM_TLS | LULL_STREAM_SHAKES));
  CHECK(stream_of(request) == LULL_STREAM_TLS);
  CHECK(stream_of("*2\r\n$4\r\n") == LULL_STREAM_OPAQUE);
}

TEST_CASE("TLS 1.3: hello, Finished, tickets and the first request are one request; the next is another") {
  for (const bool together : {false, true}) {
    Stream s;
    CHECK(s.in(hello));
    CHECK_FALSE(s.out(record(0x16, 122, 2) + change + request));
    if (together) {
      CHECK_FALSE(s.in(change + finished13 + request));
    } else {
      CHECK_FALSE(s.in(change + finished13));
      CHECK_FALSE(s.out(record(0x17, 250) + record(0x17, 250)));  // tickets
      CHECK_FALSE(s.in(small_request));
    }
    CHECK(s.out(record(0x17, 300)));
    CHECK(s.in(small_request));
    CHECK(s.out(record(0x17, 300)));
    CHECK_FALSE(s.in(close_notify));
  }
}

TEST_CASE("TLS 1.3 with a second hello, as when the first guess of a group was wrong") {
  Stream s;
  CHECK(s.in(hello));
  CHECK_FALSE(s.out(record(0x16, 88, 2) + change));
  CHECK_FALSE(s.in(change + hello));
  CHECK_FALSE(s.in(finished13));
  CHECK_FALSE(s.out(record(0x17, 250)));
  CHECK_FALSE(s.in(request));
  CHECK(s.out(record(0x17, 250)));
}

TEST_CASE("TLS 1.2, also resumed: any data is the request, however small") {
  for (const bool resumed : {false, true}) {
    Stream s;
    CHECK(s.in(hello));
    CHECK_FALSE(s.out(record(0x16, 122, 2)));
    CHECK_FALSE(s.in(resumed ? change + finished12 : key_exchange + change + finished12));
    CHECK_FALSE(s.out(change + finished12));
    CHECK_FALSE(s.in(small_request));
    CHECK(s.out(record(0x17, 300)));
    CHECK_FALSE(s.in(record(0x15, 26)));
    CHECK(s.in(request));
  }
}

TEST_CASE("what goes on after an answer has begun is no new request in a protocol that is known") {
  Stream http{LULL_STREAM_HTTP1};
  CHECK_FALSE(http.in("the rest of a body"));
  CHECK_FALSE(http.in("A sentence with capitals"));
  CHECK_FALSE(http.in("\r\n"));
  CHECK(http.in("\r\nGET / HTTP/1.1"));
  CHECK(http.in("G"));
  CHECK(http.in("DELETE /x HTTP/1.1"));
  Stream tls{LULL_STREAM_TLS};
  CHECK_FALSE(tls.in("the middle of a record that began in an earlier segment"));
  Stream opaque{LULL_STREAM_OPAQUE};
  CHECK(opaque.in("anything"));
}

TEST_CASE("interim answers are none") {
  const Stream http{LULL_STREAM_HTTP1};
  CHECK_FALSE(http.out("HTTP/1.1 100 Continue\r\n\r\n"));
  CHECK_FALSE(http.out("HTTP/1.1 103 Early Hints\r\n"));
  CHECK(http.out("HTTP/1.1 200 OK\r\n"));
  CHECK(http.out("HTTP/1.0 500 No\r\n"));
  CHECK(http.out("anything else"));
}
