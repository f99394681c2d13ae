/* bpf/arrival.bpf.c: sees a request when its first bytes reach the service's socket, and its answer when the first
 * bytes leave. Attached once, at the root of cgroup2: every network namespace, IPv4 and IPv6, loopback included.
 * UAPI types only, so that it loads on kernels without BTF. It reads headers, the first bytes of requests and answers,
 * and never drops a packet. */
#include "bpf/early.bpf.h"
#include "bpf/rules.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/in.h>

/* Ports named by the configuration rather than found: bit first, then the table. Keys are protocol << 16 | port. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u32); /* service + 1 */
} by_port SEC(".maps");
__u64 named_ports[65536 / 64];

#define SYN_EVERY_NS 10000000ull /* anybody can send SYNs: at most one hint in 10 ms for each service */
#define WAKE_EVERY_NS 1000000ull /* a busy service's further requests wake the reader at most once in 1 ms */
enum { PASS = 1 };

static __always_inline bool parse(struct __sk_buff* skb, struct lull_segment* s) {
  return lull_parse((void*)(long)skb->data, (void*)(long)skb->data_end, skb->len, s);
}

static __always_inline struct lull_connection* mark_by_port(struct bpf_sock* sk) {
  __u32 port = sk->src_port & 0xffff;
  if (!(named_ports[port / 64] >> (port % 64) & 1)) return 0;
  __u32 key = sk->protocol << 16 | port;
  __u32* service_plus_1 = bpf_map_lookup_elem(&by_port, &key);
  if (!service_plus_1) return 0;
  __u32 id = *service_plus_1 - 1;
  struct lull_rule* rule = bpf_map_lookup_elem(&rules, &id);
  if (!rule || !rule->epoch) return 0;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (c) mark(c, id, rule->epoch, LULL_STREAM_UNKNOWN);
  return c;
}

/* False: a repetition of what was seen before (TCP's own checks come later), which neither asks nor answers. */
static __always_inline bool advances(struct lull_connection* c, __u32* highest, __u32 seen, __u32 end) {
  if ((c->seen & seen) && (__s32)(end - *highest) <= 0) return false;
  *highest = end;
  if (!(c->seen & seen)) __sync_fetch_and_or(&c->seen, seen);
  return true;
}

static __always_inline void announce(struct lull_service* s, struct lull_event* event, bool first, __u64 now) {
  const bool wake = first || now - s->last_wake_ns > WAKE_EVERY_NS;
  if (wake) s->last_wake_ns = now;
  tell(event, wake ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

static __always_inline void request_in(struct lull_connection* c, struct lull_service* s, struct lull_event* event,
                                       __u64 now) {
  const __u32 before = turn(c, s, LULL_REQUEST);
  if (before == LULL_REQUEST || before == LULL_CLOSED) return;
  __sync_fetch_and_add(&s->arrivals, 1);
  announce(s, event, __sync_fetch_and_add(&s->waiting, 1) == 0, now);
}

/* The listener itself is seen for a SYN, and for data that comes with the handshake's last packet: the child does not
 * exist yet, so such a request is announced and counted as an arrival, and as waiting when the child gets more. */
static __always_inline void at_listener(struct __sk_buff* skb, struct lull_service* s, const struct lull_rule* rule,
                                        struct lull_segment* p, struct lull_event* event, __u64 now) {
  if (p->payload) {
    struct lull_head head = {};
    read_head(skb, p, &head);
    const __u32 stream = lull_stream_of(&head);
    const bool counts = describe(skb, p, &head, rule, stream, event);
    struct lull_early_key key;
    early_key(skb, p, event->service, &key);
    if (!tell_early(&key, p, stream, counts)) return;
    if (!counts) {
      __sync_fetch_and_add(&s->ignored, 1);
      return;
    }
    s->last_in_ns = now;
    __sync_fetch_and_add(&s->arrivals, 1);
    announce(s, event, s->waiting == 0, now);
    return;
  }
  if ((p->flags & (LULL_FLAG_SYN | LULL_FLAG_ACK)) != LULL_FLAG_SYN || s->waiting != 0) return;
  if (now - s->last_syn_ns < SYN_EVERY_NS) return;
  if (rule->by_source && from_ignored_source(skb, p, event->service)) return;
  s->last_syn_ns = now;
  event->kind = LULL_EVENT_SYN;
  tell(event, BPF_RB_FORCE_WAKEUP);
}

static __always_inline void more_of_a_small_one(struct lull_connection* c, struct lull_service* s,
                                                const struct lull_rule* rule, struct lull_segment* p,
                                                struct lull_event* event, __u64 now) {
  c->bytes += p->payload;
  if (c->bytes < rule->least) return;
  event->stream = c->stream & LULL_STREAM_KIND;
  event->bytes = c->bytes;
  s->last_in_ns = now;
  request_in(c, s, event, now);
}

static __always_inline void bytes_in(struct __sk_buff* skb, struct lull_connection* c, struct lull_service* s,
                                     const struct lull_rule* rule, struct lull_segment* p, struct lull_event* event,
                                     __u64 now) {
  const __u32 state = c->state;
  if (state == LULL_REQUEST) s->last_in_ns = now;
  if (state == LULL_REQUEST && !(c->stream & LULL_STREAM_SHAKES)) return; /* the body: not looked into */
  struct lull_head head = {};
  read_head(skb, p, &head);
  if (lull_read_in(&c->stream, &head) == LULL_MEANS_MORE) {
    if (state == LULL_SMALL) more_of_a_small_one(c, s, rule, p, event, now);
    return;
  }
  if (!describe(skb, p, &head, rule, c->stream, event)) {
    (void)turn(c, s, LULL_IGNORED);
    __sync_fetch_and_add(&s->ignored, 1);
    return;
  }
  if (p->payload < rule->least) {
    c->bytes = state == LULL_SMALL ? c->bytes + p->payload : p->payload; /* of what has no beginnings, all is one */
    if (c->bytes < rule->least) {
      (void)turn(c, s, LULL_SMALL);
      return;
    }
  }
  s->last_in_ns = now;
  request_in(c, s, event, now);
}

SEC("cgroup_skb/ingress")
int lull_ingress(struct __sk_buff* skb) {
  struct bpf_sock* sk = skb->sk;
  struct lull_segment p;
  if (!sk) return PASS;
  sk = bpf_sk_fullsock(sk);
  if (!sk) return PASS;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c) c = mark_by_port(sk);
  if (!c || !parse(skb, &p)) return PASS;
  struct lull_rule* rule;
  struct lull_service* s = service_of(c, &rule);
  if (!s) return PASS;
  const __u64 now = bpf_ktime_get_ns();
  const bool out = (c->stream & LULL_STREAM_KIND) == LULL_STREAM_OUTGOING;
  struct lull_event event = {.time_ns = now, .kind = LULL_EVENT_ARRIVAL, .service = c->service_plus_1 - 1};
  event.port = out ? bpf_ntohs(sk->dst_port) : sk->src_port;
  if (sk->state == BPF_TCP_LISTEN) {
    at_listener(skb, s, rule, &p, &event, now);
    return PASS;
  }
  if (p.payload && !(c->seen & LULL_SEEN_IN)) take_over_early(skb, &p, c, s, now);
  if (p.payload && advances(c, &c->in_end, LULL_SEEN_IN, p.end)) bytes_in(skb, c, s, rule, &p, &event, now);
  return PASS;
}

SEC("cgroup_skb/egress")
int lull_egress(struct __sk_buff* skb) {
  struct bpf_sock* sk = skb->sk;
  struct lull_segment p;
  if (!sk) return PASS;
  sk = bpf_sk_fullsock(sk);
  if (!sk) return PASS;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c || sk->state == BPF_TCP_LISTEN || !parse(skb, &p) || !p.payload) return PASS;
  if (!advances(c, &c->out_end, LULL_SEEN_OUT, p.end)) return PASS;
  struct lull_rule* rule;
  struct lull_service* s = service_of(c, &rule);
  if (!s) return PASS;
  const __u64 now = bpf_ktime_get_ns();
  const __u32 state = c->state;
  if (state == LULL_REQUEST || state == LULL_RESPONSE) s->last_out_ns = now;
  if (state == LULL_IDLE || state == LULL_RESPONSE || state == LULL_CLOSED) return PASS;
  struct lull_head head = {};
  read_head(skb, &p, &head);
  if (lull_is_answer(c->stream, &head)) answer_out(c, s, now);
  return PASS;
}

char terms[] SEC("license") = "Dual BSD/GPL";
