/* bpf/early.bpf.h: requests that are there before their connection. A segment with data that completes a handshake is
 * seen at the listener. It is seen again at the connection when it is repeated, and when another CPU has completed the
 * handshake meanwhile: then one and the same packet passes both. What has been told at the listener is kept here until
 * the connection takes it over, with the next segment it gets, so that it is told once and its body is no request. */
#pragma once
#include "bpf/packet.h"
#include "bpf/state.bpf.h"

struct lull_early_key {
  __u32 service;
  __u32 port; /* the client's */
  __u8 address[16];
};
struct lull_early {
  __u32 begin, end; /* sequence numbers: the address alone may be that of an older connection */
  __u32 stream;
  __u32 counts; /* 0: a rule ignores it */
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 1024);
  __type(key, struct lull_early_key);
  __type(value, struct lull_early);
} early SEC(".maps");

static __always_inline void early_key(struct __sk_buff* skb, const struct lull_segment* p, __u32 service,
                                      struct lull_early_key* key) {
  *key = (struct lull_early_key){.service = service, .port = p->source_port};
  if (p->version == 4)
    (void)bpf_skb_load_bytes(skb, 12, key->address, 4);
  else
    (void)bpf_skb_load_bytes(skb, 8, key->address, 16);
}

static __always_inline struct lull_early* early_of(const struct lull_early_key* key, const struct lull_segment* p) {
  struct lull_early* e = bpf_map_lookup_elem(&early, key);
  if (!e) return 0;
  const __u32 begin = p->end - p->payload;
  return begin - e->begin <= e->end - e->begin ? e : 0; /* a piece of it, or what follows */
}

/* False: it has been told before, or another CPU does it right now. */
static __always_inline bool tell_early(const struct lull_early_key* key, const struct lull_segment* p, __u32 stream,
                                       bool counts) {
  if (early_of(key, p)) return false;
  struct lull_early e = {.begin = p->end - p->payload, .end = p->end, .stream = stream, .counts = counts};
  (void)bpf_map_delete_elem(&early, key); /* of an older connection */
  /* Where there is no place for it, telling twice is better than not at all. */
  return bpf_map_update_elem(&early, key, &e, BPF_NOEXIST) != -17 /* -EEXIST */;
}

/* Of the first data that a connection sees. */
static __always_inline void take_over_early(struct __sk_buff* skb, const struct lull_segment* p,
                                            struct lull_connection* c, struct lull_service* s, __u64 now) {
  struct lull_early_key key;
  early_key(skb, p, c->service_plus_1 - 1, &key);
  struct lull_early* e = early_of(&key, p);
  if (!e) return;
  const bool counts = e->counts;
  c->stream = e->stream;
  c->in_end = e->end;
  __sync_fetch_and_or(&c->seen, LULL_SEEN_IN);
  (void)bpf_map_delete_elem(&early, &key);
  if (turn(c, s, counts ? LULL_REQUEST : LULL_IGNORED) == LULL_CLOSED) return;
  if (counts) __sync_fetch_and_add(&s->waiting, 1);
  if (c->seen & LULL_SEEN_OUT) answer_out(c, s, now); /* which passed while there was nothing to answer */
}
