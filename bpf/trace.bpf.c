/* bpf/trace.bpf.c: what packets cannot tell. listen(), connect() and close of watched sockets, exit of watched
 * processes, who opens a GPU, and what sockets and devices a process has open already. Each program is optional; the
 * loader says what is lost without it.
 * Kernel structures are declared in part; the loader's library finds the fields in the running kernel. */
#include "bpf/state.bpf.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <linux/in.h>

#include "bpf/head.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
  __u16 skc_num;    /* local port, host order */
  __be16 skc_dport; /* the other's, network order */
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
struct inode {
  unsigned short i_mode;
  __u32 i_rdev; /* major << 20 | minor */
};
struct file {
  struct inode* f_inode;
};
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

/* The service of the process that runs now; null: none. A client that is no service (a rank of a training job listens
 * for the others) has none, whatever its cgroup. */
static __always_inline struct lull_rule* own_service(__u32 tgid, bool by_its_cgroup, __u32* id) {
  __u32* service_plus_1 = bpf_map_lookup_elem(&by_tgid, &tgid);
  if (!service_plus_1 && by_its_cgroup) {
    __u64 cgroup = bpf_get_current_cgroup_id();
    service_plus_1 = bpf_map_lookup_elem(&by_cgroup, &cgroup);
  }
  if (!service_plus_1 || !*service_plus_1) return 0;
  *id = *service_plus_1 - 1;
  struct lull_rule* rule = bpf_map_lookup_elem(&rules, id);
  return rule && rule->epoch ? rule : 0;
}

/* Runs in the context of the process that called listen(); in most other states the current task is a stranger. */
static __always_inline void on_listen(struct sock* sk) {
  struct task_struct* task = bpf_get_current_task_btf();
  __u32 tgid = task->tgid, id = 0;
  struct lull_rule* rule = own_service(tgid, true, &id);
  if (!rule) return;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!c) return;
  mark(c, id, rule->epoch, LULL_STREAM_UNKNOWN);
  note_port(id, sk->__sk_common.skc_num);
  struct lull_event event = {.time_ns = bpf_ktime_get_ns(),
                             .kind = LULL_EVENT_LISTEN,
                             .service = id,
                             .tgid = tgid,
                             .port = sk->__sk_common.skc_num};
  tell(&event, BPF_RB_FORCE_WAKEUP);
}

static __always_inline bool brings_work(__u32 service, struct sock* sk) {
  struct lull_service_port key = {.service = (__u16)service, .port = bpf_ntohs(sk->__sk_common.skc_dport)};
  return bpf_map_lookup_elem(&wake_on, &key);
}

/* So does connect(), in its first state. */
static __always_inline void on_connect(struct sock* sk) {
  struct task_struct* task = bpf_get_current_task_btf();
  __u32 id = 0;
  struct lull_rule* rule = own_service(task->tgid, false, &id);
  if (!rule || !brings_work(id, sk)) return;
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (c) mark(c, id, rule->epoch, LULL_STREAM_OUTGOING);
}

/* FIN_WAIT1 and LAST_ACK: the service itself has closed, so no answer can follow. CLOSE: everything else. */
static __always_inline void on_close(struct sock* sk, int oldstate) {
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, 0);
  if (!c) return;
  struct lull_rule* rule;
  struct lull_service* s = service_of(c, &rule);
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
  if (newstate == BPF_TCP_SYN_SENT) on_connect(sk);
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
  tell(&event, BPF_RB_FORCE_WAKEUP);
  return 0;
}

/* ---- devices: identity is major and minor, wherever the node lies */

static __always_inline bool is_watched_device(__u32 device) {
  __u32 all = device | LULL_ANY_MINOR;
  return bpf_map_lookup_elem(&devices, &device) || bpf_map_lookup_elem(&devices, &all);
}

static __always_inline void tell_device(__u32 device, __u32 tgid, struct lull_device_event* event) {
  event->time_ns = bpf_ktime_get_ns();
  event->kind = LULL_EVENT_DEVICE;
  event->device = device;
  event->tgid = tgid;
  event->known = bpf_map_lookup_elem(&by_tgid, &tgid) != 0;
  (void)bpf_ringbuf_output(&events, event, sizeof(*event), BPF_RB_FORCE_WAKEUP);
}

/* Only looks: everybody may. */
SEC("cgroup/dev")
int lull_device(struct bpf_cgroup_dev_ctx* ctx) {
  __u32 device = ctx->major << LULL_MINOR_BITS | ctx->minor;
  if (ctx->access_type >> 16 == BPF_DEVCG_ACC_MKNOD || (ctx->access_type & 0xffff) != BPF_DEVCG_DEV_CHAR) return 1;
  if (!is_watched_device(device)) return 1;
  struct task_struct* task = bpf_get_current_task_btf();
  struct lull_device_event event = {.cgroup = bpf_get_current_cgroup_id()};
  (void)bpf_get_current_comm(event.comm, sizeof(event.comm));
  tell_device(device, task->tgid, &event);
  return 1;
}

/* ---- what is open already */

#define FILE_KIND 0170000
#define CHARACTER_DEVICE 0020000

static __always_inline void scan_device(struct task_struct* task, struct file* file) {
  struct inode* inode = file->f_inode;
  if ((inode->i_mode & FILE_KIND) != CHARACTER_DEVICE || !is_watched_device(inode->i_rdev)) return;
  struct lull_device_event event = {}; /* the reader of the iterator is not the one it is about: no name, no cgroup */
  tell_device(inode->i_rdev, task->tgid, &event);
  scan.marked++;
}

/* A connection is passive, for all that can be known afterwards, when its local port is one the service listens on. One
 * marked for the present epoch is left alone: it may be in a request. */
static __always_inline void scan_socket(struct sock* sk) {
  int state = sk->__sk_common.skc_state;
  struct lull_service_port key = {.service = (__u16)scan.service, .port = sk->__sk_common.skc_num};
  __u32 stream = LULL_STREAM_UNKNOWN;
  if (scan.what == LULL_SCAN_LISTENERS) {
    if (state != BPF_TCP_LISTEN) return;
    note_port(scan.service, key.port);
  } else {
    if (state != BPF_TCP_ESTABLISHED && state != BPF_TCP_CLOSE_WAIT) return;
    if (!bpf_map_lookup_elem(&listening, &key)) {
      if (!brings_work(scan.service, sk)) return;
      stream = LULL_STREAM_OUTGOING;
    }
  }
  struct lull_connection* c = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!c || (c->epoch == scan.epoch && c->service_plus_1 == scan.service + 1)) return;
  mark(c, scan.service, scan.epoch, stream);
  scan.marked++;
}

/* One open file of a scanned process. */
SEC("iter/task_file")
int lull_files(struct bpf_iter__task_file* ctx) {
  struct task_struct* task = ctx->task; /* each is read once: the verifier trusts the copy that was checked */
  struct file* file = ctx->file;
  if (!task || !file) return 0;
  if (scan.what == LULL_SCAN_DEVICES) {
    scan_device(task, file);
    return 0;
  }
  struct socket* socket = bpf_sock_from_file(file);
  if (!socket) return 0;
  struct sock* sk = socket->sk;
  if (sk && sk->sk_protocol == IPPROTO_TCP) scan_socket(sk);
  return 0;
}

char terms[] SEC("license") = "Dual BSD/GPL";
