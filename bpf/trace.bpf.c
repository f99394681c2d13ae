/* bpf/trace.bpf.c: what packets cannot tell. listen() and close of watched sockets, exit of watched processes, and the
 * sockets a process has already. Each program is optional; the loader says what is lost without it.
 * Kernel structures are declared in part; the loader's library finds the fields in the running kernel. */
#include "bpf/state.bpf.h"

#include <bpf/bpf_tracing.h>
#include <linux/in.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
  __u16 skc_num; /* local port, host order */
  unsigned char skc_state;
};
struct sock {
  struct sock_common __sk_common;
  __u16 sk_protocol;
};
struct socket {
  struct sock* sk;
};
typedef struct {
  int counter;
} atomic_t;
struct signal_struct {
  atomic_t live;
};
struct task_struct {
  int tgid;
  struct signal_struct* signal;
};
struct file;
struct bpf_iter__task_file {
  struct task_struct* task;
  struct file* file;
};
#pragma clang attribute pop

struct lull_scan scan; /* set by the loader before each pass */

static __always_inline void note_port(__u32 service, __u16 port) {
  struct lull_service_port key = {.service = (__u16)service, .port = port};
  __u8 one = 1;
  if (port) bpf_map_update_elem(&listening, &key, &one, BPF_ANY);
}

/* Runs in the context of the process that called listen(): the only state whose current task can be trusted. */
static __always_inline void on_listen(struct sock* sk) {
  struct task_struct* task = bpf_get_current_task_btf();
  __u32 tgid = task->tgid;
  __u32* service_plus_1 = bpf_map_lookup_elem(&by_tgid, &tgid);
  if (!service_plus_1) return;
  __u32 id = *service_plus_1 - 1;
  struct lull_rule* rule = bpf_map_lookup_elem(&rules, &id);
  if (!rule || !rule->epoch) return;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!c) return;
  mark(c, id, rule->epoch);
  note_port(id, sk->__sk_common.skc_num);
  struct lull_event event = {.time_ns = bpf_ktime_get_ns(),
                             .kind = LULL_EVENT_LISTEN,
                             .service = id,
                             .tgid = tgid,
                             .port = sk->__sk_common.skc_num};
  tell(event, BPF_RB_FORCE_WAKEUP);
}

/* FIN_WAIT1 and LAST_ACK: the service itself has closed, so no answer can follow. CLOSE: everything else. */
static __always_inline void on_close(struct sock* sk, int oldstate) {
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c) return;
  struct lull_service* s = service_of(c);
  if (!s) return;
  if (oldstate != BPF_TCP_LISTEN) {
    closed(c, s, bpf_ktime_get_ns());
    return;
  }
  struct lull_service_port key = {.service = (__u16)(c->service_plus_1 - 1), .port = sk->__sk_common.skc_num};
  bpf_map_delete_elem(&listening, &key);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(lull_state, struct sock* sk, int oldstate, int newstate) {
  if (sk->sk_protocol != IPPROTO_TCP) return 0;
  if (newstate == BPF_TCP_LISTEN) on_listen(sk);
  if (newstate == BPF_TCP_CLOSE || newstate == BPF_TCP_FIN_WAIT1 || newstate == BPF_TCP_LAST_ACK)
    on_close(sk, oldstate);
  return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(lull_exit, struct task_struct* task) {
  __u32 tgid = task->tgid;
  __u32* service_plus_1 = bpf_map_lookup_elem(&by_tgid, &tgid);
  if (!service_plus_1 || task->signal->live.counter != 0) return 0;
  struct lull_event event = {
      .time_ns = bpf_ktime_get_ns(), .kind = LULL_EVENT_EXIT, .service = *service_plus_1 - 1, .tgid = tgid};
  bpf_map_delete_elem(&by_tgid, &tgid); /* the number may be handed out again */
  tell(event, BPF_RB_FORCE_WAKEUP);
  return 0;
}

/* One open file of the scanned process. A connection is passive, for all that can be known afterwards, when its local
 * port is one the service listens on. One marked for the present epoch is left alone: it may be in a request. */
SEC("iter/task_file")
int lull_sockets(struct bpf_iter__task_file* ctx) {
  struct file* file = ctx->file;
  if (!ctx->task || !file) return 0;
  struct socket* socket = bpf_sock_from_file(file);
  if (!socket) return 0;
  struct sock* sk = socket->sk;
  if (!sk || sk->sk_protocol != IPPROTO_TCP) return 0;
  int state = sk->__sk_common.skc_state;
  struct lull_service_port key = {.service = (__u16)scan.service, .port = sk->__sk_common.skc_num};
  if (scan.what == LULL_SCAN_LISTENERS) {
    if (state != BPF_TCP_LISTEN) return 0;
    note_port(scan.service, key.port);
  } else {
    if (state != BPF_TCP_ESTABLISHED && state != BPF_TCP_CLOSE_WAIT) return 0;
    if (!bpf_map_lookup_elem(&listening, &key)) return 0;
  }
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!c || (c->epoch == scan.epoch && c->service_plus_1 == scan.service + 1)) return 0;
  mark(c, scan.service, scan.epoch);
  scan.marked++;
  return 0;
}

char terms[] SEC("license") = "Dual BSD/GPL";
