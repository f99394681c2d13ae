/* bpf/head.h: what the first bytes of a segment say about requests and answers. Like packet.h it is compiled into the
 * kernel programs and into ordinary ones.
 *
 *   a segment ── which protocol? (once for a connection) ──▶ HTTP/1, TLS, HTTP/2, something else
 *             ── does a request begin here, and is this an answer? (while it matters) ──▶ new, more
 *
 * A segment is judged by its beginning alone: nothing is put together again, nothing is kept. What that cannot see
 * (several requests in one segment, HTTP/2 inside TLS) is in docs/arrival.md. */
#pragma once
#include <linux/types.h>
#ifndef __cplusplus
#include <stdbool.h>
#endif

#define LULL_INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define LULL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LULL_UNROLL
#endif
#define LULL_HEAD_BYTES 32

struct lull_head {
  __u8 b[LULL_HEAD_BYTES]; /* zero beyond the segment */
  __u32 total;             /* bytes of the whole segment */
};

/* What a connection speaks: the low bits of lull_connection.stream. */
enum lull_stream {
  LULL_STREAM_UNKNOWN = 0,
  LULL_STREAM_HTTP1 = 1,
  LULL_STREAM_TLS = 2,
  LULL_STREAM_HTTP2 = 3,    /* in the clear; inside TLS it is TLS */
  LULL_STREAM_OPAQUE = 4,   /* any bytes are a request, any bytes are an answer */
  LULL_STREAM_OUTGOING = 5, /* the service's own connection to where its work comes from */
  LULL_STREAM_KIND = 7,
  /* TLS: the hello was counted as the request that will follow; nothing the service says before that answers it. */
  LULL_STREAM_SHAKES = 8,
  LULL_STREAM_TLS12 = 16,    /* Finished comes in a record of its own kind, so any data is the request */
  LULL_STREAM_FINISHED = 32, /* TLS 1.3: the client's Finished has been seen, so the next data is the request */
};

enum lull_meaning { LULL_MEANS_MORE = 0, LULL_MEANS_NEW = 1 };

/* HTTP methods, as keys of rules; none: not HTTP/1. */
enum lull_method {
  LULL_METHOD_NONE = 0,
  LULL_METHOD_GET = 1,
  LULL_METHOD_HEAD = 2,
  LULL_METHOD_POST = 3,
  LULL_METHOD_PUT = 4,
  LULL_METHOD_PATCH = 5,
  LULL_METHOD_DELETE = 6,
  LULL_METHOD_OPTIONS = 7,
  LULL_METHOD_OTHER = 8,
  LULL_METHODS = 9,
};

/* Bytes of the method at the beginning, 0 if there is none: capitals, a space, and what a target begins with. */
LULL_INLINE __u32 lull_method_bytes(const struct lull_head* h) {
  LULL_UNROLL
  for (__u32 i = 0; i < 9; i++) {
    const __u8 c = h->b[i], next = h->b[i + 1];
    if (c == ' ') return i >= 3 && (next == '/' || next == '*' || next == 'h') ? i : 0;
    if (c < 'A' || c > 'Z') return 0;
  }
  return 0;
}

/* Capitals to the end of a segment that is too short to hold more: the beginning of a method, for all one can see. */
LULL_INLINE bool lull_may_be_method(const struct lull_head* h) {
  if (h->total > 8) return false;
  LULL_UNROLL
  for (__u32 i = 0; i < 8; i++)
    if (i < h->total && h->b[i] != ' ' && (h->b[i] < 'A' || h->b[i] > 'Z')) return false;
  return true;
}

LULL_INLINE __u32 lull_method_of(const struct lull_head* h) {
  const __u8 a = h->b[0], b = h->b[1];
  switch (lull_method_bytes(h)) {
    case 0: return LULL_METHOD_NONE;
    case 3: return a == 'G' && b == 'E' ? LULL_METHOD_GET : a == 'P' && b == 'U' ? LULL_METHOD_PUT : LULL_METHOD_OTHER;
    case 4:
      return a == 'P' && b == 'O' ? LULL_METHOD_POST : a == 'H' && b == 'E' ? LULL_METHOD_HEAD : LULL_METHOD_OTHER;
    case 5: return a == 'P' && b == 'A' ? LULL_METHOD_PATCH : LULL_METHOD_OTHER;
    case 6: return a == 'D' && b == 'E' ? LULL_METHOD_DELETE : LULL_METHOD_OTHER;
    case 7: return a == 'O' && b == 'P' ? LULL_METHOD_OPTIONS : LULL_METHOD_OTHER;
    default: return LULL_METHOD_OTHER;
  }
}

/* ---- TLS records: kind, version 3.x, length */

#define LULL_TLS_CHANGE 0x14
#define LULL_TLS_HANDSHAKE 0x16
#define LULL_TLS_DATA 0x17
#define LULL_TLS_HELLO 1             /* a client's, the first byte of a handshake record */
#define LULL_TLS_RECORD 5            /* bytes of a record's head */
#define LULL_TLS_CHANGE_BYTES 6      /* of the whole record */
#define LULL_TLS_LARGEST_FINISHED 69 /* hash of 48 bytes, its head, the record's inner kind and tag */
#define LULL_TLS_CLOSE_BYTES 24      /* of a segment with nothing but an alert, such as close_notify */

LULL_INLINE bool lull_is_record(const struct lull_head* h, __u8 kind) { return h->b[0] == kind && h->b[1] == 3; }

/* While the handshake lasts: everything still belongs to the request that the hello stands for. This finds its end. */
LULL_INLINE void lull_shake(__u32* stream, const struct lull_head* h) {
  const __u32 skip = lull_is_record(h, LULL_TLS_CHANGE) ? LULL_TLS_CHANGE_BYTES : 0;
  const __u8 kind = skip ? h->b[LULL_TLS_CHANGE_BYTES] : h->b[0];
  const __u8 first = skip ? h->b[LULL_TLS_CHANGE_BYTES + LULL_TLS_RECORD] : h->b[LULL_TLS_RECORD];
  const __u32 high = skip ? h->b[LULL_TLS_CHANGE_BYTES + 3] : h->b[3];
  const __u32 low = skip ? h->b[LULL_TLS_CHANGE_BYTES + 4] : h->b[4];
  const __u32 length = high << 8 | low;
  if (kind == LULL_TLS_HANDSHAKE && first != LULL_TLS_HELLO) *stream |= LULL_STREAM_TLS12;
  if (kind != LULL_TLS_DATA) return;
  const bool alone = h->total <= skip + LULL_TLS_RECORD + length;
  if (!(*stream & (LULL_STREAM_TLS12 | LULL_STREAM_FINISHED)) && alone && length <= LULL_TLS_LARGEST_FINISHED)
    *stream |= LULL_STREAM_FINISHED;
  else
    *stream &= ~(__u32)LULL_STREAM_SHAKES;
}

/* ---- HTTP/2 in the clear: frames of 3 bytes length, 1 byte kind */

#define LULL_H2_HEADERS 1
LULL_INLINE bool lull_is_preface(const struct lull_head* h) {
  return h->b[0] == 'P' && h->b[1] == 'R' && h->b[2] == 'I' && h->b[3] == ' ' && h->b[4] == '*' && h->b[5] == ' ';
}

/* ---- the two questions */

LULL_INLINE __u32 lull_stream_of(const struct lull_head* h) {
  if (lull_is_preface(h)) return LULL_STREAM_HTTP2;
  if (lull_method_bytes(h) || lull_may_be_method(h)) return LULL_STREAM_HTTP1;
  if (lull_is_record(h, LULL_TLS_HANDSHAKE)) return LULL_STREAM_TLS | LULL_STREAM_SHAKES;
  if (lull_is_record(h, LULL_TLS_DATA) && h->total > LULL_TLS_CLOSE_BYTES) return LULL_STREAM_TLS;
  return LULL_STREAM_OPAQUE;
}

/* Does a request begin here? Asked of bytes to the service, while no request is known to be on its way, and during a
 * handshake. */
LULL_INLINE __u32 lull_read_in(__u32* stream, const struct lull_head* h) {
  switch (*stream & LULL_STREAM_KIND) {
    case LULL_STREAM_UNKNOWN: *stream = lull_stream_of(h); return LULL_MEANS_NEW;
    case LULL_STREAM_HTTP1:
      if (lull_method_bytes(h) || lull_may_be_method(h)) return LULL_MEANS_NEW;
      return h->b[0] == '\r' && h->b[1] == '\n' && h->total > 2 ? LULL_MEANS_NEW : LULL_MEANS_MORE;
    case LULL_STREAM_TLS:
      if (*stream & LULL_STREAM_SHAKES) {
        lull_shake(stream, h);
        return LULL_MEANS_MORE;
      }
      return lull_is_record(h, LULL_TLS_DATA) && h->total > LULL_TLS_CLOSE_BYTES ? LULL_MEANS_NEW : LULL_MEANS_MORE;
    case LULL_STREAM_HTTP2: return h->b[3] == LULL_H2_HEADERS ? LULL_MEANS_NEW : LULL_MEANS_MORE;
    case LULL_STREAM_OUTGOING: return h->total >= 16 ? LULL_MEANS_NEW : LULL_MEANS_MORE; /* "nothing to do", a pong */
    default: return LULL_MEANS_NEW;
  }
}

/* Does the answer begin here? Asked of bytes from the service, while a request waits. */
LULL_INLINE bool lull_is_answer(__u32 stream, const struct lull_head* h) {
  switch (stream & LULL_STREAM_KIND) {
    case LULL_STREAM_HTTP1: /* 100 Continue, 102, 103: the answer is still to come */
      return !(h->b[0] == 'H' && h->b[4] == '/' && h->b[5] == '1' && h->b[8] == ' ' && h->b[9] == '1');
    case LULL_STREAM_TLS: return !(stream & LULL_STREAM_SHAKES);
    case LULL_STREAM_HTTP2: return h->b[3] <= LULL_H2_HEADERS; /* headers, data: no settings, no pong */
    default: return true;
  }
}
