/* bpf/events.h: what the kernel programs and the loader share, compiled by both. Fixed-width fields only; the C++ side
 * asserts the layout (bpf/loader.cpp). Times are CLOCK_MONOTONIC nanoseconds. */
#pragma once
#include <linux/types.h>

#define LULL_MAX_SERVICES 256

/* One record of the ring. Records are hints, the counters are the truth: a full ring loses records, never counts. */
enum lull_event_kind {
  LULL_EVENT_ARRIVAL = 1, /* a service's first waiting request (0 -> 1), or data that came with the handshake */
  LULL_EVENT_IDLE = 2,    /* its last waiting request got the first byte of its answer, or was given up (1 -> 0) */
  LULL_EVENT_LISTEN = 3,  /* a watched process has called listen(); port 0: the kernel chooses one after this event */
  LULL_EVENT_EXIT = 4,    /* the last thread of a watched process is exiting; its memory is still there */
  LULL_EVENT_SYN = 5,     /* somebody connects to an idle service: a weak hint, anybody can send one */
};

struct lull_event {
  __u64 time_ns;
  __u32 kind;
  __u32 service;
  __u32 tgid; /* listen and exit, as the host's process namespace counts; else 0 */
  __u16 port; /* listen: the local port; else 0 */
  __u16 reserved;
};

/* One service, written by the programs alone, each word by an atomic add or a plain store of a time. */
struct lull_service {
  __u32 waiting; /* requests whose first byte has come and whose answer has not begun */
  __u32 reserved;
  __u64 arrivals;
  __u64 completions; /* answered requests whose connection has moved on to the next one or has closed */
  __u64 last_syn_ns;
  __u64 last_in_ns;  /* last new request byte */
  __u64 last_out_ns; /* last answer byte */
  __u64 fill[10];    /* a service has its own pair of cache lines */
};

/* One service, written by the loader alone. Sockets marked for another epoch are ignored, so ids can be used again. */
struct lull_rule {
  __u32 epoch; /* 0: not watched */
  __u32 reserved;
};

/* Kept on every watched socket. Zero means unmarked and idle. Copied from a listener to the sockets it accepts. */
struct lull_connection {
  __u32 service_plus_1;
  __u32 epoch;
  __u32 state;           /* enum lull_connection_state */
  __u32 seen;            /* LULL_SEEN_*: which of the two ends below are valid */
  __u32 in_end, out_end; /* highest sequence number seen in each direction: a repeated segment is no request */
};
enum lull_connection_state { LULL_IDLE = 0, LULL_REQUEST = 1, LULL_RESPONSE = 2, LULL_CLOSED = 3 };
#define LULL_SEEN_IN 1u
#define LULL_SEEN_OUT 2u

/* A port some service listens on; key of a set. */
struct lull_service_port {
  __u16 service;
  __u16 port;
};

/* What one pass over a process's sockets is to do, and how many it marked. */
enum lull_scan_what { LULL_SCAN_LISTENERS = 1, LULL_SCAN_CONNECTIONS = 2 };
struct lull_scan {
  __u32 what;
  __u32 service;
  __u32 epoch;
  __u32 marked;
};
