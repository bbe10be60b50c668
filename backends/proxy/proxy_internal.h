/*
 * proxy_internal.h: what the files of this folder share.
 *
 *    fg_proxy (one cluster)          configuration, targets, metrics of all loops
 *      fg_proxy_thread (a loop)      connections, timeouts, endpoints with their addresses
 *        fg_upstream (a connection)  free --> connecting --> active <==> idle
 *      fg_proxy_request              one exchange; at most one connection at a time
 *
 * Thread   everything but struct fg_proxy and the metrics belongs to one event loop.
 */
#ifndef FG_PROXY_INTERNAL_H
#define FG_PROXY_INTERNAL_H

#include "backends/backend.h"
#include "base/counters_shared.h"
#include "base/histogram_shared.h"
#include "base/list.h"
#include "base/byte_queue.h"
#include "policies/balance.h"
#include "proxy/address.h"
#include "proxy/affinity.h"
#include "proxy/cluster_conf.h"
#include "proxy/hosts_shared.h"
#include "proxy/resolver.h"
#include "proxy/timeout_list.h"
#include "proxy/upstream_response.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/socket.h>

#define FG_READ_BYTES ((size_t)65536)
#define FG_TRIED_MAX 4u

/* ---- metrics: written by one loop, read by any thread ---- */

struct fg_proxy_metrics {
    struct fg_counter started;
    struct fg_counter completed;
    struct fg_counter failed;
    struct fg_counter cancelled;
    struct fg_counter busy;
    struct fg_counter retries;
    struct fg_counter resets;
    struct fg_counter timeouts;
    struct fg_counter connect_errors;
    struct fg_counter malformed;
    struct fg_counter connections_open;
    struct fg_counter connections_idle;
    struct fg_counter connections_opened;
    struct fg_counter connections_reused;
    struct fg_counter resolves;
    struct fg_counter sent_bytes;
    struct fg_counter received_bytes;
    struct fg_counter upload_buffered_bytes; /* a gauge, set when an upload moves */
    struct fg_counter upload_buffered_bytes_most;
    struct fg_histogram head_ns; /* from the attempt that succeeded to the response's head */
};

/* ---- the objects ---- */

struct fg_proxy_request;
struct fg_proxy_thread;

/* A host as one loop sees it. */
struct fg_proxy_endpoint {
    struct fg_proxy_thread *thread;
    struct fg_host *host; /* a reference is held */
    struct fg_host_metrics *metrics;
    struct fg_list link;       /* thread->endpoints */
    struct fg_list idle;       /* of struct fg_upstream, newest first */
    size_t index;              /* in thread->balance; FG_BALANCE_NONE: listed no more */
    unsigned users;            /* connections, requests and whoever else holds it */
    uint32_t requests;         /* in flight */
    unsigned connect_failures; /* in a row */
    uint64_t not_before_ns;    /* passed over until then, when others can be had */
};

enum fg_upstream_state {
    FG_UPSTREAM_FREE,
    FG_UPSTREAM_CONNECTING,
    FG_UPSTREAM_ACTIVE,
    FG_UPSTREAM_IDLE,
    FG_UPSTREAM_STATE_COUNT,
};

struct fg_upstream {
    struct fg_proxy_thread *thread;
    struct fg_proxy_endpoint *endpoint; /* unless free */
    struct fg_proxy_request *request;   /* while connecting or active */
    struct fg_list link;                /* free: thread->free; idle: endpoint->idle */
    struct fg_timeout_entry timeout;
    struct event read_event;
    struct event write_event;
    int fd;
    enum fg_upstream_state state;
    bool is_reused; /* has carried a request before the present one */
    bool is_reading;
    bool is_write_armed;
};

struct fg_upstream_block {
    struct fg_upstream_block *next;
    struct fg_upstream upstreams[];
};

struct fg_proxy_thread {
    struct fg_backend_thread base; /* first */
    struct fg_proxy *proxy;
    struct fg_backend_env env;
    struct fg_proxy_metrics *metrics;

    /* connections */
    struct fg_list free;
    struct fg_upstream_block *blocks;
    size_t upstreams_made;
    size_t upstreams_open;
    size_t upstreams_idle;
    size_t upstreams_max;
    size_t idle_max;

    /* waits */
    struct fg_timeout_list connect_timeouts;
    struct fg_timeout_list head_timeouts;
    struct fg_timeout_list body_timeouts;
    struct fg_timeout_list idle_timeouts;

    /* heads that wait for the first piece of their body, until the end of the turn */
    struct fg_list unsent;
    struct event flush_event;

    struct fg_segment_pool segments;
    char *read_buffer; /* FG_READ_BYTES */

    /* hosts */
    struct fg_list endpoints;          /* all, also those that are listed no more */
    struct fg_proxy_endpoint **listed; /* by index in balance */
    struct fg_balance balance;
    uint16_t *slots;
    uint64_t generation; /* of the shared list that the above was made from */
    uint64_t random;
    struct fg_resolver *resolver; /* of the first loop */
};

struct fg_proxy {
    struct fg_backend base; /* first */
    struct fg_cluster_conf conf;
    unsigned thread_count;
    struct fg_affinity affinity;
    struct fg_endpoint_target *targets; /* conf.endpoint_count */
    struct fg_hosts hosts;
    struct fg_proxy_metrics *metrics; /* thread_count */
    struct fg_counter is_lookup_wanted;
};

/* What a request asks of the choice of its host. */
struct fg_proxy_wish {
    bool has_key;
    uint64_t key_hash;
    struct fg_proxy_endpoint *tried[FG_TRIED_MAX]; /* held */
    size_t tried_count;
};

/* One exchange; in its arena. */
struct fg_proxy_request {
    struct fg_exchange *ex;
    struct fg_proxy_thread *thread;
    struct fg_upstream *upstream;       /* NULL between two attempts */
    struct fg_proxy_endpoint *endpoint; /* of the present attempt; NULL between two */
    struct fg_proxy_wish wish;
    bool is_key_wanted; /* waits for enough of the body to tell its key */
    char *key_text;     /* FG_AFFINITY_BODY_BYTES; NULL: the key is not in the body */
    size_t key_len;
    struct fg_list unsent_link;

    /* what goes out */
    struct fg_span head;
    size_t head_sent;
    struct fg_byte_queue upload; /* body bytes not yet taken by the socket, framed */
    uint64_t body_received;      /* from the client, unframed */
    size_t body_unconsumed;      /* of these, not yet reported as used */
    struct fg_span last_chunk;   /* with the client's trailers; data NULL: the plain one */
    bool is_chunked;
    bool is_upgrade; /* asks for a tunnel; nothing behind the head is sent before the 101 */
    bool is_tunnel;  /* has one */
    bool is_body_complete;
    bool is_body_sent_any;
    bool is_write_broken; /* the server takes no more; its answer may still come */

    /* what comes back */
    struct fg_upstream_response response;
    bool has_response_bytes;
    bool is_head_passed;
    bool is_paused; /* the client takes no more for now */

    /* attempts */
    unsigned retries_left;
    bool must_be_fresh;
    uint64_t attempt_ns;
    uint64_t connect_ns; /* how long connecting took; 0: it was connected already */
    uint64_t head_ns;    /* from the attempt's begin to the head */
};

/* ---- endpoint.c ---- */

void fg_proxy_endpoints_init(struct fg_proxy_thread *thread);
void fg_proxy_endpoints_fini(struct fg_proxy_thread *thread);
/* Take the shared list over if it has changed. */
void fg_proxy_endpoints_sync(struct fg_proxy_thread *thread);
/* Whose turn is it? NULL when no host is known. */
struct fg_proxy_endpoint *fg_proxy_endpoint_pick(struct fg_proxy_thread *thread,
                                                 const struct fg_proxy_wish *wish, uint64_t now_ns);
void fg_proxy_endpoint_hold(struct fg_proxy_endpoint *endpoint);
/* May free it. */
void fg_proxy_endpoint_release(struct fg_proxy_endpoint *endpoint);
/* A request to it begins, which holds it; and ends. */
void fg_proxy_endpoint_started(struct fg_proxy_endpoint *endpoint);
void fg_proxy_endpoint_ended(struct fg_proxy_endpoint *endpoint);
void fg_proxy_endpoint_note_connected(struct fg_proxy_endpoint *endpoint);
/* Passes it over for a while, and has names looked up again. */
void fg_proxy_endpoint_note_failed(struct fg_proxy_endpoint *endpoint);

/* ---- upstream.c ---- */

bool fg_upstreams_init(struct fg_proxy_thread *thread);
/* Closes the idle ones; no other is open. */
void fg_upstreams_fini(struct fg_proxy_thread *thread);

/* The newest idle connection to the endpoint, active for `request`; NULL when there is none. */
struct fg_upstream *fg_upstream_try_reuse(struct fg_proxy_endpoint *endpoint,
                                          struct fg_proxy_request *request);
/*
 * Start to connect for `request`. FG_OK with *upstream connecting or active; FG_ERR_BUSY: no
 * connection is left; FG_ERR_CLOSED: refused at once, which the endpoint has been told.
 */
FG_MUST_USE enum fg_status fg_upstream_open(struct fg_proxy_thread *thread,
                                            struct fg_proxy_endpoint *endpoint,
                                            struct fg_proxy_request *request,
                                            struct fg_upstream **upstream);
/* Its request is done with it, all of the answer is read: keep it for another. */
void fg_upstream_release(struct fg_upstream *upstream);
void fg_upstream_close(struct fg_upstream *upstream);
void fg_upstreams_close_idle(struct fg_proxy_endpoint *endpoint);
/* Read on, or leave what comes in the socket. */
void fg_upstream_set_reading(struct fg_upstream *upstream, bool is_reading);
/* One call of fg_proxy_request_on_writable when the socket has room. */
void fg_upstream_await_room(struct fg_upstream *upstream);

/* ---- upload.c ---- */

enum fg_send {
    FG_SEND_OK,        /* what the socket did not take is kept, and sent when it has room */
    FG_SEND_BROKEN,    /* the server takes no more */
    FG_SEND_NO_MEMORY, /* the loop's upload buffers are used up */
};

/*
 * Send what waits, then this piece of the body (len 0: none), in one call. While the request has
 * no connection, or the socket no room, the piece is kept. Does not end the exchange.
 */
FG_MUST_USE enum fg_send fg_upload_send(struct fg_proxy_request *request, const void *data,
                                        size_t len, bool is_last);
/* Has the whole request left? */
bool fg_upload_is_done(const struct fg_proxy_request *request);
bool fg_upload_is_waiting(const struct fg_proxy_request *request);
/* Tell the client to go on, when little enough waits. */
void fg_upload_open_window(struct fg_proxy_request *request);
void fg_upload_drop(struct fg_proxy_request *request);

/* ---- proxy_request.c; each may end the exchange, and then the connection is closed or idle ----
 */

void fg_proxy_request_start(struct fg_proxy_thread *thread, struct fg_exchange *ex);
void fg_proxy_request_on_body(struct fg_proxy_request *request, const void *data, size_t len,
                              bool is_last);
void fg_proxy_request_on_client_writable(struct fg_proxy_request *request);
void fg_proxy_request_cancel(struct fg_proxy_request *request);
void fg_proxy_request_flush_unsent(struct fg_proxy_thread *thread);

/* What the connection of a request reports. */
void fg_proxy_request_on_connected(struct fg_proxy_request *request);
void fg_proxy_request_on_connect_failed(struct fg_proxy_request *request);
void fg_proxy_request_on_readable(struct fg_proxy_request *request);
void fg_proxy_request_on_writable(struct fg_proxy_request *request);
void fg_proxy_request_on_timeout(struct fg_proxy_request *request);

/* ---- proxy_stats.c ---- */

void fg_proxy_stats(struct fg_backend *backend, json_t *into);
bool fg_proxy_is_ready(struct fg_backend *backend, const char **why);

#endif
