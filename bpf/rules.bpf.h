/* bpf/rules.bpf.h: what an arriving request looks like, and whether the rules of its service count it. Asked once a
 * request, never for the packets of its body. */
#pragma once
#include "bpf/head.h"
#include "bpf/packet.h"
#include "bpf/state.bpf.h"

/* Targets that are counted or not, by method and longest prefix. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, struct lull_path_key);
  __type(value, __u8); /* enum lull_verdict */
} paths SEC(".maps");

/* Senders that are not counted. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 4096);
  __type(key, struct lull_source_key);
  __type(value, __u8);
} sources SEC(".maps");

#define PATH_BITS ((LULL_SERVICE_BITS / 8 + 1 + LULL_PATH_BYTES) * 8)
#define SOURCE_BITS (LULL_SERVICE_BITS + 128)

/* Copies what there is of `most` bytes at `offset`; `most` is a constant. The rest of `to` stays as it is. */
#define COPY(skb, offset, to, have, most)                                                \
  do {                                                                                   \
    __u32 count = (have) < (most) ? (have) : (most);                                     \
    asm volatile("" : "+r"(count)); /* the verifier must see a check */                  \
    if (count >= 1 && count <= (most)) (void)bpf_skb_load_bytes(skb, offset, to, count); \
  } while (0)

static __always_inline void read_head(struct __sk_buff* skb, const struct lull_segment* p, struct lull_head* head) {
  head->total = p->payload;
  COPY(skb, p->offset, head->b, p->payload, LULL_HEAD_BYTES);
}

static __always_inline bool from_ignored_source(struct __sk_buff* skb, const struct lull_segment* p, __u32 service) {
  struct lull_source_key key = {.prefix = SOURCE_BITS, .service = service};
  if (p->version == 4) {
    key.address[10] = key.address[11] = 0xff;
    (void)bpf_skb_load_bytes(skb, 12, key.address + 12, 4);
  } else {
    (void)bpf_skb_load_bytes(skb, 8, key.address, 16);
  }
  return bpf_map_lookup_elem(&sources, &key);
}

/* The rule for this method goes before the one for any. */
static __always_inline bool is_ignored_path(struct lull_path_key* key) {
  __u8* verdict = bpf_map_lookup_elem(&paths, key);
  if (!verdict) {
    key->method = LULL_METHOD_NONE;
    verdict = bpf_map_lookup_elem(&paths, key);
  }
  return verdict && *verdict == LULL_IS_IGNORED;
}

/* Completes the event with what kind of request it is. True: the rules count it. */
static __always_inline bool describe(struct __sk_buff* skb, const struct lull_segment* p, const struct lull_head* head,
                                     const struct lull_rule* rule, __u32 stream, struct lull_event* event) {
  event->stream = stream & LULL_STREAM_KIND;
  event->bytes = p->payload;
  if (rule->by_source && from_ignored_source(skb, p, event->service)) return false;
  if (event->stream != LULL_STREAM_HTTP1) return true;
  const __u32 skip = lull_method_bytes(head) + 1;
  event->method = lull_method_of(head);
  if (event->method == LULL_METHOD_NONE || p->payload <= skip) return true;
  struct lull_path_key key = {.prefix = PATH_BITS, .service = event->service, .method = event->method};
  const __u32 have = p->payload - skip;
  COPY(skb, p->offset + skip, key.path, have, LULL_PATH_BYTES);
  __builtin_memcpy(event->path, key.path, LULL_PATH_BYTES);
  return !rule->by_path || !is_ignored_path(&key);
}
