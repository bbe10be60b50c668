/*
 * proxy_internal.h: what the files of this folder share.
 *
 *    fg_proxy (one cluster)          configuration, hosts, metrics of all loops
 *      fg_proxy_thread (a loop)      connections, timeouts, its view of the hosts
 *        fg_upstream (a connection)  carries one attempt (HTTP/1.1) or many (HTTP/2)
 *      fg_proxy_request              one exchange: its body, what may be tried, the answer
 *        fg_proxy_attempt            one try of it at one host; two at most at a time (hedging)
 *
 * Thread   everything but struct fg_proxy and the metrics belongs to one event loop.
 */
#ifndef FG_PROXY_INTERNAL_H
#define FG_PROXY_INTERNAL_H

#include "backends/backend.h"
#include "backends/h2_check.h"
#include "base/block_pool.h"
#include "base/counters_shared.h"
#include "base/histogram_shared.h"
#include "base/list.h"
#include "base/byte_queue.h"
#include "policies/address_share.h"
#include "policies/balance.h"
#include "policies/crowd.h"
#include "policies/retry.h"
#include "policies/retry_budget.h"
#include "policies/siphash.h"
#include "proxy/address.h"
#include "proxy/affinity.h"
#include "proxy/client_header.h"
#include "proxy/cluster_conf.h"
#include "proxy/cluster_limits_shared.h"
#include "proxy/endpoint_file.h"
#include "proxy/health_check.h"
#include "proxy/hosts_shared.h"
#include "proxy/resolver.h"
#include "proxy/timeout_list.h"
#include "proxy/upstream_response.h"
#include "tls/tls_slot_shared.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#define FG_READ_BYTES ((size_t)65536)
#define FG_WRITE_BYTES ((size_t)65536)
#define FG_ATTEMPTS_MAX 2u /* of one request at a time */
#define FG_TRIED_MAX 4u

/* ---- metrics: written by one loop, read by any thread ---- */

struct fg_proxy_metrics {
    struct fg_counter started;
    struct fg_counter completed;
    struct fg_counter failed;
    struct fg_counter cancelled;
    struct fg_counter busy;
    struct fg_counter retries;         /* after the server may have seen it: under the budget */
    struct fg_counter reconnects;      /* before it could */
    struct fg_counter retries_refused; /* the budget was used up */
    struct fg_counter hedges;
    struct fg_counter hedges_won;
    struct fg_counter resets;
    struct fg_counter timeouts;
    struct fg_counter connect_errors;
    struct fg_counter malformed;
    struct fg_counter dear_reads;    /* that took more than their share of a turn */
    struct fg_counter last_reads;    /* that went last in their turn */
    struct fg_counter gave_way;      /* stalled by their clients, while others waited */
    struct fg_counter share_cut;     /* of these, above their client's share */
    struct fg_counter share_refused; /* whose client keeps its share of answers waiting */
    struct fg_counter connections_open;
    struct fg_counter connections_idle;
    struct fg_counter connections_opened;
    struct fg_counter connections_reused;
    struct fg_counter streams_open; /* HTTP/2 */
    struct fg_counter pings;        /* sent to silent connections */
    struct fg_counter pings_lost;   /* and what was closed for its silence after one */
    struct fg_counter tls_handshakes;
    struct fg_counter tls_resumed;
    struct fg_counter tls_errors;
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
struct fg_h2;

/* A host as one loop sees it. */
struct fg_proxy_endpoint {
    /* links */
    struct fg_proxy_thread *thread;
    struct fg_host *host; /* a reference is held */
    struct fg_host_metrics *metrics;
    struct fg_list link;    /* thread->endpoints */
    struct fg_list idle;    /* HTTP/1.1 connections without a request, newest first */
    struct fg_list opening; /* connections that become ready */
    struct fg_list shared;  /* HTTP/2 connections */

    /* state */
    size_t index;              /* in thread->balance; FG_BALANCE_NONE: listed no more */
    unsigned users;            /* connections, attempts and whoever else holds it */
    uint32_t requests;         /* in flight */
    unsigned connect_failures; /* in a row */
    uint64_t not_before_ns;    /* passed over until then, when others can be had */
    bool has_check;            /* health_check.c looks after it */
    bool speaks_h1;            /* the last TLS handshake chose HTTP/1.1 */
    bool takes_no_tunnels;     /* over HTTP/2, by its last settings */
    SSL_SESSION *session;      /* to resume; NULL: none */
    SSL_CTX *session_tls;      /* that it is of; NULL: none */
};

enum fg_upstream_state {
    FG_UPSTREAM_FREE,
    FG_UPSTREAM_CONNECTING,
    FG_UPSTREAM_SECURING, /* TLS handshake */
    FG_UPSTREAM_ACTIVE,   /* HTTP/1.1, carries an attempt */
    FG_UPSTREAM_IDLE,     /* HTTP/1.1, waits for one */
    FG_UPSTREAM_SHARED,   /* HTTP/2, carries any number */
    FG_UPSTREAM_STATE_COUNT,
};

struct fg_proxy_attempt;

struct fg_upstream {
    struct fg_proxy_thread *thread;
    struct fg_proxy_endpoint *endpoint; /* unless free; held */
    struct fg_proxy_attempt *attempt;   /* while active */
    struct fg_list waiting;             /* attempts, until the connection is ready */
    struct fg_list link;                /* in a list of the endpoint's, or thread->free */
    struct fg_list again;               /* thread->again */
    struct fg_last_read last;           /* goes last in this turn */
    struct fg_timeout_entry timeout;    /* to connect, or idle */
    struct event read_event;
    struct event write_event;
    struct fg_span header; /* that it begins with (PROXY protocol); ours; data NULL: none */
    SSL *ssl;              /* NULL: plain */
    struct fg_h2 *h2;      /* while shared */
    int fd;
    enum fg_upstream_state state;
    size_t waiting_count;
    bool is_reused; /* has carried a request before the present one */
    bool is_h1_only;
    bool is_parked; /* shared, and counted as idle */
    bool is_reading;
    bool is_write_armed;
    bool has_small_records; /* TLS: the last read was cut short for their number */
    bool is_read_owed;      /* TLS: an end was found behind what the last read gave */
    unsigned idle_records;  /* TLS: that brought nothing, above those that did */
    struct fg_read_pace pace;
};

struct fg_upstream_block {
    struct fg_upstream_block *next;
    struct fg_upstream upstreams[];
};

struct fg_proxy_thread {
    struct fg_backend_thread base; /* first */
    struct fg_proxy *proxy;
    struct fg_backend_env env;
    struct fg_turn_clock clock;
    struct fg_proxy_metrics *metrics;

    /* connections */
    struct fg_list free;
    struct fg_upstream_block *blocks;
    size_t upstreams_made;
    size_t upstreams_open;
    size_t upstreams_idle; /* also shared ones without a stream */
    size_t idle_max;

    /* waits */
    struct fg_timeout_list connect_timeouts;
    struct fg_timeout_list head_timeouts;
    struct fg_timeout_list body_timeouts;
    struct fg_timeout_list idle_timeouts;
    struct fg_timeout_list try_timeouts;
    struct fg_timeout_list hedge_timeouts;
    struct fg_timeout_list silences; /* of HTTP/2 connections, before and after a PING */
    struct fg_timeout_list ping_timeouts;
    struct fg_timeout_list stall_looks;
    struct fg_crowd stalled; /* paused answers by their clients' addresses */
    struct fg_crowd tunnels; /* likewise */
    struct fg_address_share tunnel_share;
    struct fg_siphash_key owner_key;

    /* what leaves at the end of the turn */
    struct fg_list dirty; /* of struct fg_h2 */
    /* attempts for which no connection is left, the most important first */
    struct fg_list pending;
    size_t pending_count;
    struct event pending_event;
    /* heads that wait for the first piece of their body, until the end of the turn */
    struct fg_list unsent;
    struct event flush_event;
    struct fg_list again; /* connections whose TLS layer holds what is read in the next turn */
    struct event again_event;

    struct fg_segment_pool segments;
    struct fg_block_pool small_blocks; /* of HTTP/2 sessions */
    struct fg_known_lines known_lines; /* of HTTP/1.1 answers */
    char *read_buffer;                 /* FG_READ_BYTES */
    char *write_buffer;                /* FG_WRITE_BYTES */

    /* hosts */
    struct fg_list endpoints;          /* all, also those that are listed no more */
    struct fg_proxy_endpoint **listed; /* by index in balance */
    struct fg_balance balance;
    uint16_t *slots;
    uint64_t generation; /* of the shared list that the above was made from */
    uint64_t random;
    struct fg_resolver *resolver; /* of the first loop, as the checker */
    struct fg_health_checker *checker;
    struct fg_endpoint_file *file;
    struct fg_proxy_metrics check_metrics; /* of health checks; not shown */
};

struct fg_proxy {
    struct fg_backend base; /* first */
    struct fg_cluster_conf conf;
    unsigned thread_count;
    struct fg_affinity affinity;
    struct fg_tls_slot tls;             /* empty without conf.has_tls */
    struct fg_endpoint_target *targets; /* conf.endpoint_count */
    struct fg_hosts hosts;
    struct fg_cluster_limits limits;
    struct fg_retry_budget budget;    /* its law; what is out is counted in limits */
    struct fg_proxy_metrics *metrics; /* thread_count */
    struct fg_counter is_lookup_wanted;
};

/* What a request asks of the choice of its host. */
struct fg_proxy_wish {
    enum fg_priority priority;
    bool has_key;
    uint64_t key_hash;
    struct fg_proxy_endpoint *tried[FG_TRIED_MAX]; /* held */
    size_t tried_count;
};

/* One try at one host; in the request. */
struct fg_proxy_attempt {
    struct fg_proxy_request *request;
    struct fg_proxy_endpoint *endpoint; /* held; NULL: the attempt is not in use */
    struct fg_upstream *upstream;       /* waited for, or carrying it */
    struct fg_list link;                /* upstream->waiting, thread->pending or thread->unsent */
    struct fg_timeout_entry timeout;    /* silence */
    struct fg_timeout_entry try_timeout;
    uint64_t started_ns;
    uint64_t connect_ns; /* how long connecting took; 0: it was connected already */
    uint64_t head_ns;    /* from started_ns to the head; 0: none yet */
    uint64_t answer_ns;  /* of it, since the client last sent some of the body; valid with it */

    /* what goes out */
    struct fg_span head; /* HTTP/1.1 */
    size_t head_sent;
    struct fg_span websocket_key;      /* in it, and ours; empty: none */
    const struct fg_field *due_fields; /* HTTP/2: a head or trailers, until they are on the wire */
    size_t due_field_count;
    struct fg_byte_queue upload; /* not yet taken by the connection; framed for HTTP/1.1 */
    bool is_probe;               /* of its endpoint's breaker */
    bool is_breaker_owed;        /* which has not been told yet how it went */
    bool was_probe;              /* and is one again once its client has sent the rest */
    bool is_pending;             /* no connection is left in the cluster */
    bool is_begun;               /* the connection was ready, the body goes to it */
    bool is_sent_any;            /* a byte may have left */
    bool is_write_broken;        /* the server takes no more; its answer may still come */
    bool is_reused;              /* on a connection that carried a request before */

    /* what comes back */
    struct fg_upstream_response response; /* parser of HTTP/1.1; result of both */
    bool has_response_bytes;
    struct fg_h2_check check; /* HTTP/2: what is known of the head, and of the content so far */
    int32_t stream_id;        /* HTTP/2; 0: none */
    bool is_on_wire;          /* HTTP/2: its head has been written */
    bool is_early;            /* HTTP/2: begun before the server had said how many it takes */
    size_t unconsumed;        /* of the stream's window, while the client takes no more */
};

/* One exchange; in its arena. */
struct fg_proxy_request {
    struct fg_exchange *ex;
    struct fg_proxy_thread *thread;
    struct fg_proxy_metrics *metrics;                   /* the thread's; checks have their own */
    struct fg_proxy_attempt *attempts[FG_ATTEMPTS_MAX]; /* NULL until needed */
    struct fg_proxy_attempt *answering;                 /* its head was passed on */

    /* the choice of hosts */
    struct fg_proxy_wish wish;
    struct fg_proxy_endpoint *pinned; /* held; the only one that will do; NULL: any */
    bool is_key_wanted;               /* waits for enough of the body to tell its key */
    size_t key_looked;                /* how much of it was looked at for that */
    struct fg_span new_cookie;        /* that the answer sets; data NULL: none */

    /* what the client sends */
    struct fg_byte_queue body; /* from its begin, while is_body_at_hand */
    bool is_body_at_hand;      /* nothing of it was let go: it can be sent (again) */
    bool is_body_complete;
    bool is_chunked; /* of unknown length */
    bool is_upgrade; /* asks for a tunnel; nothing behind the head leaves before the 101 */
    bool is_tunnel;  /* has one */
    uint64_t body_received;
    uint64_t body_at_ns;       /* when the last of it came; 0: none has */
    size_t body_unconsumed;    /* of these, not yet reported as used */
    struct fg_span last_chunk; /* with the client's trailers; data NULL: the plain one */

    /* what the client takes */
    bool is_paused; /* a write has filled the client's buffer; on_writable ends it */
    struct fg_timeout_entry stall_look; /* while it is paused */
    uint64_t owner;                     /* whose it is; 0: not asked yet, or nobody's */
    bool is_stall_counted;              /* in thread->stalled */
    uint64_t upload_since_ns;           /* since when the client has sent less than this is one: */
    uint64_t upload_mark;               /* of body_received */
    bool is_tunnel_counted;             /* in thread->tunnels, and of the cluster's */

    /* trying again */
    struct fg_timeout_entry hedge_timeout;
    uint32_t reconnects;
    uint32_t retries;
    enum fg_retry_verdict booked; /* what kind of attempt was allowed last */
    struct event *pause;  /* before a retry, while that is pending; NULL: there never was one */
    uint64_t pause_ns;    /* of the retry that was allowed last; 0: at once */
    uint64_t paused_ns;   /* all pauses together */
    unsigned budget_held; /* retries of the cluster's limit */
    bool has_extra_slot;  /* of the gateway's limit: two are asked */
    bool is_counted;      /* of its requests */
    bool must_be_fresh;
};

/* ---- endpoint.c ---- */

void fg_proxy_endpoints_init(struct fg_proxy_thread *thread);
void fg_proxy_endpoints_fini(struct fg_proxy_thread *thread);
/* Take the shared list over if it has changed. */
void fg_proxy_endpoints_sync(struct fg_proxy_thread *thread);
/* 64 fresh bits. */
uint64_t fg_proxy_random(struct fg_proxy_thread *thread);
/*
 * Whose turn is it? NULL when no host is known, or when *retry_after_ns is not 0: then the breakers
 * of all are open; in shadow there is a host all the same. *is_probe: of the host's breaker;
 * fg_hosts_note_breaker tells of it.
 */
struct fg_proxy_endpoint *fg_proxy_endpoint_pick(struct fg_proxy_thread *thread,
                                                 const struct fg_proxy_wish *wish, uint64_t now_ns,
                                                 bool *is_probe, uint64_t *retry_after_ns);
/* Could another than `but` be asked that was not tried? */
bool fg_proxy_endpoint_has_untried(const struct fg_proxy_thread *thread,
                                   const struct fg_proxy_wish *wish,
                                   const struct fg_proxy_endpoint *but);
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

/*
 * Find or open a connection to attempt->endpoint. FG_OK: attempt->upstream is set, and ready if
 * fg_upstream_is_ready; else fg_attempt_on_ready or fg_attempt_on_connect_failed comes later.
 * FG_ERR_LIMIT: no connection is left; FG_ERR_BUSY: no descriptor; FG_ERR_NO_MEMORY;
 * FG_ERR_CLOSED: refused at once, which the endpoint knows.
 */
FG_MUST_USE enum fg_status fg_upstream_get(struct fg_proxy_attempt *attempt, bool must_be_fresh,
                                           bool is_h1_only);
static inline bool fg_upstream_is_ready(const struct fg_upstream *upstream)
{
    return upstream->state == FG_UPSTREAM_ACTIVE || upstream->state == FG_UPSTREAM_SHARED;
}
/* The attempt waits for it no longer. */
void fg_upstream_stop_waiting(struct fg_proxy_attempt *attempt);
/* HTTP/1.1: its request is done with it, all of the answer is read: keep it for another. */
void fg_upstream_release(struct fg_upstream *upstream);
/* Carries no attempt, and none waits for it. */
void fg_upstream_close(struct fg_upstream *upstream);
void fg_upstreams_close_idle(struct fg_proxy_endpoint *endpoint);
/* There is one. */
void fg_upstreams_close_oldest_idle(struct fg_proxy_thread *thread);
/* HTTP/2: the first stream begins, or the last has ended. */
void fg_upstream_set_idle(struct fg_upstream *upstream, bool is_idle);
/* In the next turn, whether or not its socket has more by then. Harmless twice. */
void fg_upstream_read_again(struct fg_upstream *upstream);
/* At the end of the turn, behind all others. Harmless twice. */
void fg_upstream_read_last(struct fg_upstream *upstream);
/* Read on, or leave what comes in the socket. */
void fg_upstream_set_reading(struct fg_upstream *upstream, bool is_reading);
/* One call of the carried protocol's on_writable when the socket has room. */
void fg_upstream_await_room(struct fg_upstream *upstream);

/* ---- pending.c: attempts that wait for a connection to be left ---- */

void fg_pending_init(struct fg_proxy_thread *thread);
void fg_pending_fini(struct fg_proxy_thread *thread);
/* fg_attempt_on_placed comes later. False: too many wait already. */
FG_MUST_USE bool fg_pending_wait(struct fg_proxy_attempt *attempt);
/* It waits no longer. */
void fg_pending_leave(struct fg_proxy_attempt *attempt);
/* A connection of this loop has come free: at the end of the turn, look who can have it. */
void fg_pending_wake(struct fg_proxy_thread *thread);
/* May a connection be kept without a request? Not while others have more need of its place. */
bool fg_pending_keeps_idle(const struct fg_proxy_thread *thread);

/* ---- stalled.c: answers that their clients do not take, bodies that they do not send ---- */

FG_MUST_USE bool fg_stalled_init(struct fg_proxy_thread *thread);
void fg_stalled_fini(struct fg_proxy_thread *thread);
/* It is paused: look after a while whether it must give way. */
void fg_stalled_watch(struct fg_proxy_request *request);
/* The same of the rest of its body. Harmless twice. */
void fg_stalled_watch_upload(struct fg_proxy_request *request);
/* It is not, or over. Harmless twice. */
void fg_stalled_forget(struct fg_proxy_request *request);
/* How many answers its client leaves unread, of this loop. */
uint32_t fg_stalled_held(struct fg_proxy_request *request);
/* Is the process short of what connections need? */
bool fg_stalled_is_short(const struct fg_proxy_thread *thread);
/* While connections are short: may the request's client have one more? */
bool fg_stalled_admits(struct fg_proxy_request *request);

/* A keyed hash of its client's address (an IPv6 client's /64); 0: nobody's. */
uint64_t fg_proxy_request_owner(struct fg_proxy_request *request);

/* ---- tunnels.c: how many there may be ---- */

void fg_tunnels_init(struct fg_proxy_thread *thread);
/* Before there is a connection: false when no tunnel could be opened. */
bool fg_tunnel_may_ask(struct fg_proxy_request *request);
/* The head of its answer is there: may it hold its connection for as long as the answer lasts? One
 * that says how long it is lasts no longer than others. */
FG_MUST_USE bool fg_tunnel_may_last(struct fg_proxy_attempt *attempt);
/* It has a connection of its own: is counted, or refused. */
FG_MUST_USE bool fg_tunnel_try_begin(struct fg_proxy_request *request);
/* How many its client has, of this loop. */
uint32_t fg_tunnels_held(struct fg_proxy_request *request);
/* It was none, or is over. Harmless twice. */
void fg_tunnel_end(struct fg_proxy_request *request);

/* ---- cluster_tls.c: what TLS connections are made from ---- */

/* Of the files as they are now, into proxy->tls; false with `error`: what is there stays. Nothing
 * to do for a cluster without TLS. */
FG_MUST_USE bool fg_cluster_tls_load(struct fg_proxy *proxy, struct fg_error *error);
/* For one connection to the endpoint, with the session that it resumes; NULL without memory. */
SSL *fg_cluster_tls_open(struct fg_proxy *proxy, const struct fg_proxy_endpoint *endpoint);

/* ---- upstream_io.c: bytes over a plain or a TLS connection ---- */

/* The connection's header, as the first thing on it; false: it is broken. */
FG_MUST_USE bool fg_upstream_send_header(struct fg_upstream *upstream);
/* A TLS client on the connected socket. */
FG_MUST_USE bool fg_upstream_tls_attach(struct fg_upstream *upstream);
enum fg_tls_step { FG_TLS_DONE, FG_TLS_WANT_READ, FG_TLS_WANT_WRITE, FG_TLS_FAILED };
enum fg_tls_step fg_upstream_tls_step(struct fg_upstream *upstream);
bool fg_upstream_tls_chose_h2(const struct fg_upstream *upstream);
/* Says goodbye when it is idle, and frees. */
void fg_upstream_tls_detach(struct fg_upstream *upstream);

/* Bytes read; 0: the other side has ended well; -1: nothing now; -2: broken. */
ssize_t fg_upstream_read(struct fg_upstream *upstream, void *to, size_t room);
/* Bytes may be waiting above the socket. */
bool fg_upstream_has_pending(const struct fg_upstream *upstream);
/* Bytes taken, 0 when there is no room; -1: broken. */
ssize_t fg_upstream_write(struct fg_upstream *upstream, struct iovec *iov, size_t count);
/* No more will be written. */
void fg_upstream_end_writing(struct fg_upstream *upstream);

/* ---- h1.c: an attempt over a connection of its own ---- */

enum fg_send {
    FG_SEND_OK,        /* what the socket did not take is kept, and sent when it has room */
    FG_SEND_BROKEN,    /* the server takes no more */
    FG_SEND_NO_MEMORY, /* the loop's upload buffers are used up */
};

/* Send what waits, then this piece of the body (len 0: none), in one call. */
FG_MUST_USE enum fg_send fg_h1_send(struct fg_proxy_attempt *attempt, const void *data, size_t len,
                                    bool is_last);
/* Has the whole request left? */
bool fg_h1_is_sent(const struct fg_proxy_attempt *attempt);
bool fg_h1_is_waiting(const struct fg_proxy_attempt *attempt);
/* The request's body so far, framed, to be sent before what comes; `is_moved`: its own bytes, which
 * need no frame, instead of a copy. */
FG_MUST_USE bool fg_h1_keep_body(struct fg_proxy_attempt *attempt, bool is_last, bool is_moved);
/* There is something to read: now, or when others have had their turn. */
void fg_h1_on_readable(struct fg_upstream *upstream);
/* Its turn has come. */
void fg_h1_read(struct fg_upstream *upstream);

/* ---- h2.c: attempts as streams of a shared connection ---- */

FG_MUST_USE bool fg_h2_open(struct fg_upstream *upstream);
/* Ends all streams, whose attempts are told. */
void fg_h2_close(struct fg_upstream *upstream);
bool fg_h2_has_room(const struct fg_h2 *h2);
/* May a WebSocket be asked for (RFC 8441 section 3)? Known once the server's settings are here. */
enum fg_h2_tunnels { FG_H2_TUNNELS_UNKNOWN, FG_H2_TUNNELS_TAKEN, FG_H2_TUNNELS_REFUSED };
enum fg_h2_tunnels fg_h2_tunnels(const struct fg_h2 *h2);
/* The attempt hears fg_attempt_on_settings when that is known, or the connection is no use. */
void fg_h2_await_settings(struct fg_proxy_attempt *attempt);
/* The connection is attempt->upstream. FG_ERR_BUSY: it takes no more streams. FG_ERR_NO_MEMORY. */
FG_MUST_USE enum fg_status fg_h2_begin(struct fg_proxy_attempt *attempt);
/* More of the body is in attempt->upload, or all of it. */
void fg_h2_on_body(struct fg_proxy_attempt *attempt);
/* The client takes more again. */
void fg_h2_resume(struct fg_proxy_attempt *attempt);
/* The attempt has waited in vain for `silence_ns`: a connection that was as silent gets no more. */
void fg_h2_doubt(struct fg_proxy_attempt *attempt, uint64_t silence_ns);
/* The attempt has ended; resets the stream if it is open. */
void fg_h2_leave(struct fg_proxy_attempt *attempt);
/* Nothing has come for the keepalive's interval, and for its timeout after a PING. */
void fg_h2_on_silence(struct fg_timeout_entry *timeout);
void fg_h2_on_ping_timeout(struct fg_timeout_entry *timeout);
/* As for HTTP/1.1. */
void fg_h2_on_readable(struct fg_upstream *upstream);
void fg_h2_read(struct fg_upstream *upstream);
void fg_h2_on_writable(struct fg_upstream *upstream);
/* End of the turn: write what all connections have to say. */
void fg_h2_flush_dirty(struct fg_proxy_thread *thread);

/* ---- attempt.c ---- */

/* One at a host that it chooses. May end the exchange. */
void fg_attempt_start(struct fg_proxy_request *request);
/* A second one at another host, for hedging; false when that cannot be. */
bool fg_attempt_start_hedge(struct fg_proxy_request *request);
/* Puts the attempt's things away; `is_reusable`: its HTTP/1.1 connection may be kept. */
void fg_attempt_stop(struct fg_proxy_attempt *attempt, bool is_reusable);
void fg_attempt_stop_all(struct fg_proxy_request *request);
/* How it went, as far as its host is concerned. */
void fg_attempt_judge_host(struct fg_proxy_attempt *attempt, bool is_error);
/* The same for the host's breaker alone, before the end. */
void fg_attempt_tell_breaker(struct fg_proxy_attempt *attempt, bool is_error);
/* A piece of the body, to the attempt that is begun. May end the exchange. */
void fg_attempt_send(struct fg_proxy_attempt *attempt, const void *data, size_t len, bool is_last);
/* Which silence is too long now? Called when something has moved. */
void fg_attempt_set_timeout(struct fg_proxy_attempt *attempt);
/* The server has all that came of the body, and the client is to send the rest: the gateway watches
 * that. */
bool fg_attempt_is_clients_turn(const struct fg_proxy_attempt *attempt);
/* ... and for a while: what becomes of it meanwhile is the client's doing, and tells of no host. */
bool fg_attempt_is_slow_upload(const struct fg_proxy_attempt *attempt);
/* A probe whose client takes long gives its place to others, until all of it is there. */
void fg_attempt_set_aside(struct fg_proxy_attempt *attempt);
void fg_attempt_take_up(struct fg_proxy_attempt *attempt);
/* The head of its answer has come. */
void fg_attempt_note_head(struct fg_proxy_attempt *attempt);
void fg_attempt_flush_unsent(struct fg_proxy_thread *thread);
void fg_attempt_on_ready(struct fg_proxy_attempt *attempt);
/* For a tunnel over HTTP/2: the server's settings have come. */
void fg_attempt_on_settings(struct fg_proxy_attempt *attempt);
void fg_attempt_on_connect_failed(struct fg_proxy_attempt *attempt);
/* The connection that it waited for is not for it: look for another one at the same host. */
void fg_attempt_on_unplaced(struct fg_proxy_attempt *attempt);
/* A tunnel, and the endpoint is known to have none over HTTP/2. */
bool fg_attempt_is_h1_only(const struct fg_proxy_attempt *attempt);
/* What fg_upstream_get has said; not FG_ERR_LIMIT. */
void fg_attempt_on_placed(struct fg_proxy_attempt *attempt, enum fg_status status);
void fg_attempt_on_writable(struct fg_proxy_attempt *attempt);
void fg_attempt_on_timeout(struct fg_timeout_entry *timeout);
void fg_attempt_on_try_timeout(struct fg_timeout_entry *timeout);

/* ---- proxy_request.c; each may end the exchange ---- */

void fg_proxy_request_start(struct fg_proxy_thread *thread, struct fg_exchange *ex);
/* A check: at this host or not at all, on a fresh connection, once, and not counted. */
void fg_proxy_request_start_pinned(struct fg_proxy_thread *thread, struct fg_exchange *ex,
                                   struct fg_proxy_endpoint *endpoint);
void fg_proxy_request_on_body(struct fg_proxy_request *request, const void *data, size_t len,
                              bool is_last);
void fg_proxy_request_on_client_writable(struct fg_proxy_request *request);
void fg_proxy_request_set_aside(struct fg_proxy_request *request);
void fg_proxy_request_cancel(struct fg_proxy_request *request);
/* Puts everything away but the exchange, which the caller ends. */
struct fg_exchange *fg_proxy_request_let_go(struct fg_proxy_request *request);
/* That which runs beside this one; NULL: none does. */
struct fg_proxy_attempt *fg_proxy_request_other(const struct fg_proxy_attempt *attempt);
/* Its server waits for the client to send the rest of the body, before it answers. */
bool fg_proxy_request_is_upload(const struct fg_proxy_request *request);

/* ---- refusals.c; each but tell_spared ends the exchange, or only the attempt of two ---- */

/* A limit of the cluster's leaves no room for it. */
void fg_proxy_refuse_for_limit(struct fg_exchange *ex, const struct fg_proxy *proxy,
                               enum fg_cluster_limit which);
/* In shadow: the breakers of all endpoints would have refused it. */
void fg_proxy_tell_spared_broken(struct fg_proxy_request *request);
/* The breakers of all endpoints are open; there is no attempt. */
void fg_proxy_request_refuse_broken(struct fg_proxy_request *request, uint64_t retry_after_ns);
/* In shadow: a limit of the cluster's would have refused it. */
void fg_proxy_tell_spared(struct fg_exchange *ex, const struct fg_proxy *proxy,
                          enum fg_cluster_limit which);
/* A limit of the cluster's is reached, so that the attempt cannot be made. */
void fg_proxy_request_on_limit(struct fg_proxy_attempt *attempt, enum fg_cluster_limit which);
/* Connections are short, and its client keeps as many as it may with answers that it does not take.
 */
void fg_proxy_request_on_share(struct fg_proxy_attempt *attempt);
/* It would be one tunnel too many, of the cluster or of its client. */
void fg_proxy_request_on_tunnels(struct fg_proxy_attempt *attempt);
/* No connection is to be had for it. */
void fg_proxy_request_on_busy(struct fg_proxy_attempt *attempt);

/* ---- proxy_request.c, again ---- */

void fg_proxy_request_on_hedge_timeout(struct fg_timeout_entry *timeout);
/* One of two attempts is over. */
void fg_proxy_request_end_hedge(struct fg_proxy_request *request);
/* Tell the client to go on, when little enough waits. */
void fg_proxy_request_open_window(struct fg_proxy_request *request);

bool fg_method_is_idempotent(enum fg_method method);
/* For Host or :authority. */
struct fg_span fg_proxy_request_host(const struct fg_proxy_request *request);
void fg_proxy_publish_buffered(struct fg_proxy_thread *thread);
/* What is kept of the body, behind what is in `to`. */
FG_MUST_USE bool fg_proxy_copy_body(struct fg_proxy_request *request, struct fg_byte_queue *to);

/* What an attempt reports. False: the attempt is over; `is_end`: the head is all of the answer. */
bool fg_proxy_request_on_head(struct fg_proxy_attempt *attempt, bool is_end);
void fg_proxy_request_on_interim(struct fg_proxy_attempt *attempt);
void fg_proxy_request_on_data(struct fg_proxy_attempt *attempt, struct fg_span data);
void fg_proxy_request_on_end(struct fg_proxy_attempt *attempt, bool is_reusable);
/* The attempt has come to nothing; another one, or the end of the exchange. */
void fg_proxy_request_on_lost(struct fg_proxy_attempt *attempt, enum fg_retry_cause cause,
                              enum fg_failure failure, const char *detail);
/* Not the server's fault. */
void fg_proxy_request_fail(struct fg_proxy_request *request, enum fg_failure failure,
                           const char *detail);

/* ---- proxy_stats.c ---- */

void fg_proxy_stats(struct fg_backend *backend, json_t *into);
bool fg_proxy_is_ready(struct fg_backend *backend, const char **why);

#endif
