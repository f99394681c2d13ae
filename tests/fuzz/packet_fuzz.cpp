// Packets of strangers, as the kernel programs take them apart: nothing is read outside of the packet, a payload lies
// within it, and every first segment has an answer.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "bpf/head.h"
#include "bpf/packet.h"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

void judge(__u32 stream, const lull_head& head) {
  const __u32 before = stream;
  const __u32 meaning = lull_read_in(&stream, &head);
  expect(meaning == LULL_MEANS_NEW || meaning == LULL_MEANS_MORE);
  const __u32 kind = stream & LULL_STREAM_KIND;
  expect(kind != LULL_STREAM_UNKNOWN && kind <= LULL_STREAM_OUTGOING);
  expect((before & LULL_STREAM_KIND) == LULL_STREAM_UNKNOWN || kind == (before & LULL_STREAM_KIND));
  (void)lull_is_answer(stream, &head);
  expect(lull_method_bytes(&head) <= 8);
  expect((lull_method_of(&head) == LULL_METHOD_NONE) == (lull_method_bytes(&head) == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::unique_ptr<std::uint8_t[]> packet(new std::uint8_t[size]);  // its end is watched
  std::copy(data, data + size, packet.get());
  lull_segment segment{};
  const bool parsed = lull_parse(packet.get(), packet.get() + size, static_cast<__u32>(size), &segment);
  if (parsed) expect(segment.offset >= 40 && segment.offset + segment.payload == size);
  lull_head head{};
  const std::size_t from = parsed ? segment.offset : 0, have = size - from;
  std::copy_n(packet.get() + from, std::min(have, sizeof(head.b)), head.b);
  head.total = static_cast<__u32>(have);
  for (__u32 kind = 0; kind <= LULL_STREAM_OUTGOING; ++kind)
    for (const __u32 flags : {0u, 8u, 16u, 32u, 56u}) judge(kind | flags, head);
  return 0;
}
