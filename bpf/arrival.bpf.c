/* bpf/arrival.bpf.c: sees a request when its first bytes reach the service's socket, and its answer when the first
 * bytes leave. Attached once, at the root of cgroup2: every network namespace, IPv4 and IPv6, loopback included.
 * UAPI types only, so that it loads on kernels without BTF. It reads headers, and never drops a packet. */
#include "bpf/state.bpf.h"

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
#define FLAG_SYN 0x02
#define FLAG_ACK 0x10
enum { PASS = 1 };

struct segment {
  __u32 payload; /* bytes */
  __u32 end;     /* sequence number after the payload */
  __u8 flags;
};

/* By the packet's own version, not the socket's family: a dual-stack socket gets both. Anything but a plain TCP
 * segment (fragments, IPv6 extension headers) is unknown, and no request. */
static __always_inline bool parse(struct __sk_buff* skb, struct segment* s) {
  __u8 *b = (void*)(long)skb->data, *end = (void*)(long)skb->data_end;
  __u32 l3 = 40;
  if (b + 20 > end) return false;
  if (b[0] >> 4 == 4) {
    l3 = (b[0] & 15) * 4;
    if (b[9] != IPPROTO_TCP || (b[6] & 0x1f) || b[7]) return false;
  } else if (b[0] >> 4 == 6) {
    if (b[6] != IPPROTO_TCP) return false;
  } else {
    return false;
  }
  if (l3 < 20) return false;
  __u8* t = b + l3; /* one checked pointer: the verifier refuses b[l3 + 12] after the same check */
  if (t + 20 > end) return false;
  __u32 l4 = (t[12] >> 4) * 4;
  if (l4 < 20 || l3 + l4 > skb->len) return false;
  s->payload = skb->len - l3 - l4;
  s->end = bpf_ntohl(*(__be32*)(t + 4)) + s->payload;
  s->flags = t[13];
  return true;
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
  if (c) mark(c, id, rule->epoch);
  return c;
}

/* False: a repetition of what was seen before (TCP's own checks come later), which neither asks nor answers. */
static __always_inline bool advances(struct lull_connection* c, __u32* highest, __u32 seen, __u32 end) {
  if ((c->seen & seen) && (__s32)(end - *highest) <= 0) return false;
  *highest = end;
  if (!(c->seen & seen)) __sync_fetch_and_or(&c->seen, seen);
  return true;
}

/* The listener itself is seen for a SYN, and for data that comes with the handshake's last packet: the child does not
 * exist yet, so such a request is announced and counted as an arrival but never as waiting. */
static __always_inline void at_listener(struct lull_connection* c, struct lull_service* s, struct segment* p,
                                        __u64 now) {
  struct lull_event event = {.time_ns = now, .kind = LULL_EVENT_ARRIVAL, .service = c->service_plus_1 - 1};
  if (p->payload) {
    s->last_in_ns = now;
    __sync_fetch_and_add(&s->arrivals, 1);
  } else {
    if ((p->flags & (FLAG_SYN | FLAG_ACK)) != FLAG_SYN) return;
    if (now - s->last_syn_ns < SYN_EVERY_NS) return;
    s->last_syn_ns = now;
    event.kind = LULL_EVENT_SYN;
  }
  if (s->waiting == 0) tell(event, BPF_RB_FORCE_WAKEUP);
}

SEC("cgroup_skb/ingress")
int lull_ingress(struct __sk_buff* skb) {
  struct bpf_sock* sk = skb->sk;
  struct segment p;
  if (!sk) return PASS;
  sk = bpf_sk_fullsock(sk);
  if (!sk) return PASS;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c) c = mark_by_port(sk);
  if (!c || !parse(skb, &p)) return PASS;
  struct lull_service* s = service_of(c);
  if (!s) return PASS;
  __u64 now = bpf_ktime_get_ns();
  if (sk->state == BPF_TCP_LISTEN) {
    at_listener(c, s, &p, now);
    return PASS;
  }
  if (!p.payload || !advances(c, &c->in_end, LULL_SEEN_IN, p.end)) return PASS;
  s->last_in_ns = now;
  request_in(c, s, now);
  return PASS;
}

SEC("cgroup_skb/egress")
int lull_egress(struct __sk_buff* skb) {
  struct bpf_sock* sk = skb->sk;
  struct segment p;
  if (!sk) return PASS;
  sk = bpf_sk_fullsock(sk);
  if (!sk) return PASS;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c || sk->state == BPF_TCP_LISTEN || !parse(skb, &p) || !p.payload) return PASS;
  if (!advances(c, &c->out_end, LULL_SEEN_OUT, p.end)) return PASS;
  struct lull_service* s = service_of(c);
  if (!s) return PASS;
  __u64 now = bpf_ktime_get_ns();
  s->last_out_ns = now;
  answer_out(c, s, now);
  return PASS;
}

char terms[] SEC("license") = "Dual BSD/GPL";
