/* bpf/events.h: what the kernel programs and the loader share, compiled by both. Fixed-width fields only; the C++ side
 * asserts the layout (bpf/kernel.cpp). Times are CLOCK_MONOTONIC nanoseconds. */
#pragma once
#include <linux/types.h>

#define LULL_MAX_SERVICES 256
#define LULL_PATH_BYTES 43 /* of a request's target: enough for a rule and for a kind of request, no more is read */

/* One record of the ring. Records are hints, the counters are the truth: a full ring loses records, never counts. */
enum lull_event_kind {
  LULL_EVENT_ARRIVAL = 1, /* a request begins to arrive */
  LULL_EVENT_IDLE = 2,    /* its last waiting request got the first byte of its answer, or was given up (1 -> 0) */
  LULL_EVENT_LISTEN = 3,  /* a watched process has called listen(); port 0: the kernel chooses one after this event */
  LULL_EVENT_EXIT = 4,    /* the last thread of a watched process is exiting; its memory is still there */
  LULL_EVENT_SYN = 5,     /* somebody connects to an idle service: a weak hint, anybody can send one */
  LULL_EVENT_DEVICE = 6,  /* a watched device node is opened, or was found open: struct lull_device_event */
};

struct lull_event {
  __u64 time_ns;
  __u32 kind;
  __u32 service;
  __u32 tgid;                 /* listen and exit, as the host's process namespace counts; else 0 */
  __u16 port;                 /* listen, arrival: the local port (of an outgoing connection the other's); else 0 */
  __u8 stream;                /* arrival: enum lull_stream, else 0 */
  __u8 method;                /* arrival: enum lull_method, else 0 */
  __u32 bytes;                /* arrival: of the first segment; else 0 */
  __u8 path[LULL_PATH_BYTES]; /* arrival by HTTP/1: the beginning of what follows the method; else zero */
  __u8 reserved;
};

/* Begins as lull_event does. */
struct lull_device_event {
  __u64 time_ns;
  __u32 kind;
  __u32 device; /* major << 20 | minor */
  __u32 tgid;
  __u32 known; /* 1: a registered client */
  __u64 cgroup;
  __u8 comm[16];
};
#define LULL_MINOR_BITS 20
#define LULL_ANY_MINOR 0xfffffu

/* One service, written by the programs alone, each word by an atomic add or a plain store of a time. */
struct lull_service {
  __u32 waiting; /* requests whose first byte has come and whose answer has not begun */
  __u32 reserved;
  __u64 arrivals;
  __u64 completions; /* answered requests whose connection has moved on to the next one or has closed */
  __u64 ignored;     /* requests that a rule says are none */
  __u64 last_syn_ns;
  __u64 last_wake_ns; /* when an arrival last woke the reader */
  __u64 last_in_ns;   /* last new request byte */
  __u64 last_out_ns;  /* last answer byte */
  __u64 fill[8];      /* a service has its own pair of cache lines */
};

/* One service, written by the loader alone. Sockets marked for another epoch are ignored, so ids can be used again. */
struct lull_rule {
  __u32 epoch;    /* 0: not watched */
  __u32 least;    /* bytes below which a request is none; 0: every byte counts */
  __u8 by_path;   /* look into `paths` */
  __u8 by_source; /* look into `sources` */
  __u8 reserved[2];
};

/* Kept on every watched socket. Zero means unmarked and idle. Copied from a listener to the sockets it accepts. */
struct lull_connection {
  __u32 service_plus_1;
  __u32 epoch;
  __u32 state;           /* enum lull_connection_state */
  __u32 seen;            /* LULL_SEEN_*: which of the two ends below are valid */
  __u32 in_end, out_end; /* highest sequence number seen in each direction: a repeated segment is no request */
  __u32 stream;          /* enum lull_stream; written by ingress alone */
  __u32 bytes;           /* of a SMALL request so far */
};
enum lull_connection_state {
  LULL_IDLE = 0,
  LULL_REQUEST = 1,
  LULL_RESPONSE = 2,
  LULL_CLOSED = 3,
  LULL_IGNORED = 4, /* a request that a rule says is none */
  LULL_SMALL = 5,   /* one that has not reached the least size yet */
};
#define LULL_SEEN_IN 1u
#define LULL_SEEN_OUT 2u

/* A port some service listens on, or (in another map) connects to for its work; key of a set. */
struct lull_service_port {
  __u16 service;
  __u16 port;
};

/* Keys of longest-prefix tables: `prefix` bits of what follows it count. */
#define LULL_SERVICE_BITS 32
struct lull_path_key {
  __u32 prefix;
  __u32 service;
  __u8 method; /* enum lull_method; none: of any method */
  __u8 path[LULL_PATH_BYTES];
};
struct lull_source_key {
  __u32 prefix;
  __u32 service;
  __u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
};
enum lull_verdict { LULL_COUNTS = 1, LULL_IS_IGNORED = 2 };

/* What one pass over a process's files is to do, and how many sockets it marked. */
enum lull_scan_what { LULL_SCAN_LISTENERS = 1, LULL_SCAN_CONNECTIONS = 2, LULL_SCAN_DEVICES = 3 };
struct lull_scan {
  __u32 what;
  __u32 service;
  __u32 epoch;
  __u32 marked;
};
