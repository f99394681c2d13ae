/* bpf/packet.h: an IP packet down to its TCP payload. Compiled into the kernel programs and, for tests and fuzzing,
 * into ordinary ones: it knows no helper of either. */
#pragma once
#include <linux/types.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

#define LULL_TCP 6
#define LULL_FLAG_SYN 0x02
#define LULL_FLAG_ACK 0x10

struct lull_segment {
  __u32 payload; /* bytes */
  __u32 offset;  /* of the payload in the packet */
  __u32 end;     /* sequence number after the payload */
  __u16 source_port;
  __u8 version; /* 4 or 6 */
  __u8 flags;
};

/* By the packet's own version, not the socket's family: a dual-stack socket gets both. Anything but a plain TCP
 * segment (fragments, IPv6 extension headers) is unknown, and no request. `packet_bytes` may be more than lies between
 * `b` and `end`: the kernel shows the headers and keeps the rest elsewhere. */
static inline __attribute__((always_inline)) bool lull_parse(const __u8* b, const __u8* end, __u32 packet_bytes,
                                                             struct lull_segment* s) {
  __u32 l3 = 40;
  if (b + 20 > end) return false;
  s->version = b[0] >> 4;
  if (s->version == 4) {
    l3 = (b[0] & 15u) * 4;
    if (b[9] != LULL_TCP || (b[6] & 0x1f) || b[7]) return false;
  } else if (s->version == 6) {
    if (b[6] != LULL_TCP) return false;
  } else {
    return false;
  }
  if (l3 < 20) return false;
  const __u8* t = b + l3; /* one checked pointer: the verifier refuses b[l3 + 12] after the same check */
  if (t + 20 > end) return false;
  const __u32 l4 = (t[12] >> 4) * 4u;
  if (l4 < 20 || l3 + l4 > packet_bytes) return false;
  s->offset = l3 + l4;
  s->payload = packet_bytes - s->offset;
  s->end = ((__u32)t[4] << 24 | (__u32)t[5] << 16 | (__u32)t[6] << 8 | t[7]) + s->payload;
  s->source_port = (__u16)(t[0] << 8 | t[1]);
  s->flags = t[13];
  return true;
}
