/*
 * metrics.h: what the gateway counts, one block a thread, summed when somebody reads.
 * Thread   a block is written by its loop alone; any thread reads (base/counters_shared.h).
 * Memory   fixed at start: threads x (routes x about 17 KiB + hops x 16 KiB).
 */
#ifndef FG_OBSERVE_METRICS_H
#define FG_OBSERVE_METRICS_H

#include "base/counters_shared.h"
#include "base/histogram_shared.h"

#include <stddef.h>

/* Why the gateway itself, or a limit of a backend's, refused a request; the name is the error's
 * code too. */
enum fg_refused {
    FG_REFUSED_BAD_REQUEST, /* no HTTP, or too much of it; the error has a code of its own */
    FG_REFUSED_NO_ROUTE,
    FG_REFUSED_METHOD,
    FG_REFUSED_MISDIRECTED, /* by a connection for another host */
    FG_REFUSED_UNAUTHENTICATED,
    FG_REFUSED_OVERLOAD,
    FG_REFUSED_WAITING_ROOM,
    FG_REFUSED_RATE_LIMIT,
    FG_REFUSED_PRIORITY,
    FG_REFUSED_QUEUE_FULL,
    FG_REFUSED_QUEUE_BYTES,  /* of the bodies of those who wait */
    FG_REFUSED_QUEUE_TOKENS, /* that they will ask for */
    FG_REFUSED_QUEUE_SHED,
    FG_REFUSED_QUEUE_TIMEOUT,
    FG_REFUSED_CANNOT_MEET_DEADLINE,
    FG_REFUSED_BREAKER_OPEN,
    FG_REFUSED_DEADLINE,
    FG_REFUSED_BODY_TOO_LARGE,
    FG_REFUSED_BODY_TIMEOUT,
    FG_REFUSED_NO_MEMORY,
    FG_REFUSED_RESERVE, /* what memory is left is kept for others */
    FG_REFUSED_TUNNELS,
    FG_REFUSED_UNREAD,     /* the client leaves too many answers unread while they are short */
    FG_REFUSED_NOT_CACHED, /* only-if-cached */
    /* limits of backends, in the gateway all the same: */
    FG_REFUSED_CLUSTER_REQUESTS,
    FG_REFUSED_CLUSTER_PENDING,
    FG_REFUSED_ENDPOINTS_OPEN, /* the breakers of all endpoints */
    FG_REFUSED_BACKEND_BUSY,   /* descriptors, helpers or connections are all in use */
    FG_REFUSED_ORDERS_BUSY,
    FG_REFUSED_KV_BLOCKS,
    FG_REFUSED_NO_WORKER,
    FG_REFUSED_DRAINING, /* the inference workers are */
    FG_REFUSED_HELPERS,  /* too many long prompts to read */
    FG_REFUSED_ROOM_STREAMS,
    FG_REFUSED_COUNT,
};

/* How a backend that had been asked failed, before its answer or within it. */
enum fg_failed {
    FG_FAILED_NOT,
    FG_FAILED_UNREACHABLE,
    FG_FAILED_RESET,
    FG_FAILED_TIMEOUT, /* a time limit of the backend's own */
    FG_FAILED_BUSY,
    FG_FAILED_NO_TUNNEL,
    FG_FAILED_INTERNAL,
    FG_FAILED_SLOW_READER,   /* the client's doing, with connections short */
    FG_FAILED_ANSWER_LATE,   /* the request's deadline passed within the answer */
    FG_FAILED_ANSWER_SILENT, /* nothing more came for as long as the route allows */
    FG_FAILED_COUNT,
};

/* Where a request's time goes. */
enum fg_hop {
    FG_HOP_UPLOAD,      /* the whole request body, while backend, route or server waits for it */
    FG_HOP_CACHE_WAIT,  /* coalesced behind another request's fetch */
    FG_HOP_SHARED,      /* an answer of the Redis that gateways share */
    FG_HOP_ROUTE_QUEUE, /* waiting for a slot of the route */
    FG_HOP_QUEUE,       /* waiting for a slot of the backend */
    FG_HOP_BACKEND,     /* handed over, or whole if that took its client long, to response head */
    FG_HOP_BODY,        /* response head to end */
    FG_HOP_COUNT,
};

enum fg_cache_result {
    FG_CACHE_RESULT_NONE, /* the route has no cache */
    FG_CACHE_RESULT_HIT,
    FG_CACHE_RESULT_MISS,
    FG_CACHE_RESULT_COALESCED,
    FG_CACHE_RESULT_STALE,
    FG_CACHE_RESULT_REVALIDATED, /* the origin said that what is stored has not changed */
    FG_CACHE_RESULT_BYPASS,
    FG_CACHE_RESULT_COUNT,
};

/* Why a request that the cache might have answered went to the origin (RFC 9211 section 2.2). */
enum fg_cache_forward {
    FG_CACHE_FORWARD_MISS,    /* nothing is stored for it */
    FG_CACHE_FORWARD_VARY,    /* what is stored is for requests with other fields, by its Vary */
    FG_CACHE_FORWARD_STALE,   /* what is stored is too old, or may not be given without asking */
    FG_CACHE_FORWARD_REQUEST, /* it is fresh, but the client wants the origin's word */
    FG_CACHE_FORWARD_COUNT,
};

struct fg_route_metrics {
    struct fg_counter requests;
    struct fg_counter by_class[6]; /* [status / 100]; [0]: aborted before a status */
    struct fg_counter aborted;     /* answer cut, or client gone */
    struct fg_counter refused[FG_REFUSED_COUNT];
    struct fg_counter failed[FG_FAILED_COUNT];
    struct fg_counter cache[FG_CACHE_RESULT_COUNT];
    struct fg_counter bytes_in;
    struct fg_counter bytes_out;
    struct fg_histogram latency_ns; /* first byte of the request to the end of the answer */
};

struct fg_thread_metrics {
    struct fg_counter active;        /* gauge: requests in the pipeline */
    struct fg_counter awaiting_body; /* gauge: of these, that go on when their body is whole */
    struct fg_counter cache_bytes;   /* of bodies given from memory */
    struct fg_histogram hops[FG_HOP_COUNT];
    size_t route_count;
    struct fg_route_metrics routes[]; /* the last one counts what matched no route */
};

/* Zeroed block for `route_count` routes and one more. NULL without memory. */
struct fg_thread_metrics *fg_thread_metrics_create(size_t route_count);
void fg_thread_metrics_destroy(struct fg_thread_metrics *metrics);

/* Constant names: "rate_limit", "queue", "hit". */
const char *fg_refused_name(enum fg_refused refused);
/* FG_REFUSED_COUNT: there is none of that name. */
enum fg_refused fg_refused_of_name(const char *name);
/* NULL for FG_FAILED_NOT. */
const char *fg_failed_name(enum fg_failed failed);
/* FG_FAILED_NOT: there is none of that name. */
enum fg_failed fg_failed_of_name(const char *name);
const char *fg_hop_name(enum fg_hop hop);
const char *fg_cache_result_name(enum fg_cache_result result);

#endif
