/* bpf/state.bpf.h: the maps and the life of a connection, included by both objects (the loader makes them share maps).
 *
 *             a request begins             its answer begins
 *    IDLE ───────────────────► REQUEST ──────────────────────► RESPONSE ──── a request begins: back to REQUEST
 *      waiting+1, arrivals+1              waiting-1              (completions+1, waiting+1, arrivals+1)
 *    IDLE, RESPONSE ── one that a rule ignores ──► IGNORED ── answer ──► IDLE         (ignored+1)
 *    IDLE, RESPONSE ── one that is small so far ─► SMALL ──── answer ──► IDLE         SMALL ── enough ──► REQUEST
 *    any ──── close ────► CLOSED          from REQUEST: waiting-1      from RESPONSE: completions+1
 *
 * Ingress (softirq), egress (the service's own CPU) and close of one socket race, so every turn is a compare-and-swap
 * or exchange on the state, and whoever wins it changes the counters. UAPI types only: this file relocates nothing. */
#pragma once
#include <linux/bpf.h> /* first: the helpers use its types */
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "bpf/events.h"

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE); /* CLONE: what a marked listener accepts is marked too */
  __type(key, int);
  __type(value, struct lull_connection);
} connections SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, LULL_MAX_SERVICES);
  __type(key, __u32);
  __type(value, struct lull_service);
} services SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, LULL_MAX_SERVICES);
  __type(key, __u32);
  __type(value, struct lull_rule);
} rules SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct lull_service_port);
  __type(value, __u8);
} listening SEC(".maps");

/* Ports at which a service finds its work: it connects there itself. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct lull_service_port);
  __type(value, __u8);
} wake_on SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);   /* tgid */
  __type(value, __u32); /* service + 1; 0: a client that is no service */
} by_tgid SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u64);   /* cgroup */
  __type(value, __u32); /* service + 1 */
} by_cgroup SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, __u32); /* major << 20 | minor, LULL_ANY_MINOR for all */
  __type(value, __u8);
} devices SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 512 * 1024);
} events SEC(".maps");

/* Never mix flags 0 with NO_WAKEUP: the adaptive form then loses wake-ups for good. */
static __always_inline void tell(struct lull_event* event, __u64 wakeup) {
  (void)bpf_ringbuf_output(&events, event, sizeof(*event), wakeup); /* full: the reader is awake and reads counters */
}

static __always_inline struct lull_service* service_of(const struct lull_connection* c, struct lull_rule** rule) {
  __u32 id = c->service_plus_1 - 1;
  *rule = bpf_map_lookup_elem(&rules, &id);
  if (!*rule || !(*rule)->epoch || (*rule)->epoch != c->epoch) return 0;
  return bpf_map_lookup_elem(&services, &id);
}

static __always_inline void mark(struct lull_connection* c, __u32 service, __u32 epoch, __u32 stream) {
  c->state = LULL_IDLE;
  c->seen = 0;
  c->stream = stream;
  c->epoch = epoch;
  c->service_plus_1 = service + 1;
}

static __always_inline void one_waits_less(struct lull_connection* c, struct lull_service* s, __u64 now) {
  if (__sync_fetch_and_sub(&s->waiting, 1) != 1) return;
  struct lull_event event = {.time_ns = now, .kind = LULL_EVENT_IDLE, .service = c->service_plus_1 - 1};
  tell(&event, BPF_RB_NO_WAKEUP); /* whoever lingers reads the counters when its time is over */
}

/* Makes the state `to`; answers what it was. CLOSED: it is the end, or was lost to a racing turn twice. */
static __always_inline __u32 turn(struct lull_connection* c, struct lull_service* s, __u32 to) {
  __u32 before = c->state;
  if (before != LULL_CLOSED && __sync_val_compare_and_swap(&c->state, before, to) != before) {
    before = c->state; /* an answer came in between; no second one can */
    if (before != LULL_CLOSED && __sync_val_compare_and_swap(&c->state, before, to) != before) before = LULL_CLOSED;
  }
  if (before == LULL_RESPONSE) __sync_fetch_and_add(&s->completions, 1);
  return before;
}

static __always_inline void answer_out(struct lull_connection* c, struct lull_service* s, __u64 now) {
  if (__sync_val_compare_and_swap(&c->state, LULL_REQUEST, LULL_RESPONSE) == LULL_REQUEST)
    return one_waits_less(c, s, now);
  if (__sync_val_compare_and_swap(&c->state, LULL_IGNORED, LULL_IDLE) == LULL_IGNORED) return;
  (void)__sync_val_compare_and_swap(&c->state, LULL_SMALL, LULL_IDLE);
}

static __always_inline void closed(struct lull_connection* c, struct lull_service* s, __u64 now) {
  __u32 before = __sync_lock_test_and_set(&c->state, LULL_CLOSED);
  if (before == LULL_REQUEST) one_waits_less(c, s, now);
  if (before == LULL_RESPONSE) __sync_fetch_and_add(&s->completions, 1);
}
