/*
 * listener.h: a bound, listening socket on one loop, and the connections accepted from it.
 * Job      accept, apply connection limits, start TLS, pick the codec, hand requests to the
 *          handler.
 * Thread   the loop's; the socket itself was opened by the supervisor and is inherited.
 */
#ifndef FG_NET_LISTENER_H
#define FG_NET_LISTENER_H

#include "base/status.h"
#include "config/config.h"
#include "http/request.h"
#include "net/loop.h"

/*
 * Open and bind a listening TCP socket (SO_REUSEPORT, SO_REUSEADDR, non-blocking, close-on-exec).
 * -1 with `error` ("listener public: cannot bind 0.0.0.0:8443: Address already in use"). The caller
 * owns the fd. Supervisor.
 * `is_first`: nobody else may listen there; false for the further sockets of the same listener.
 */
int fg_listener_bind(const struct fg_listener_conf *conf, bool is_first, struct fg_error *error);
/* The configuration's for a socket that it was bound by, with whatever it had then. Supervisor. */
void fg_listener_set_backlog(int fd, const struct fg_listener_conf *conf);

struct fg_tls_context; /* OpenSSL server context of one listener, shared by all threads */

struct fg_ticket_keys;

/* Loads certificates and keys; fails naming the file and OpenSSL's reason. NULL on failure. `conf`
 * and `tickets` outlive it; NULL: no session can be resumed. Before threads start. */
struct fg_tls_context *fg_tls_context_create(const struct fg_listener_conf *conf,
                                             struct fg_ticket_keys *tickets,
                                             uint64_t ticket_lifetime_s, struct fg_error *error);
/* Read the files anew, for connections that begin from now on; on failure all stays as it was.
 * The main thread, while loops run. */
enum fg_status fg_tls_context_load(struct fg_tls_context *tls, const struct fg_listener_conf *conf,
                                   struct fg_error *error);
/* Say in the log, once each, what of the files in use is over by now. The main thread. */
void fg_tls_context_tell_ends(struct fg_tls_context *tls);
void fg_tls_context_destroy(struct fg_tls_context *tls);

/* What is in use of a listener's files. */
struct fg_tls_certificate_report {
    const char *file;      /* of the configuration */
    int64_t left_s;        /* until it ends; below 0: it is over */
    bool must_staple;      /* it says itself that it is good with an OCSP response alone */
    const char *ocsp_file; /* NULL: none is to be */
    bool is_stapled;       /* clients that want it get a response with it */
    uint64_t ocsp_left_s;  /* until it is over; 0: it is, or there is none */
    char ocsp_fault[128];  /* why the file, as it was read last, is not used; empty: it is */
    const char *ca_file;   /* of its clients; NULL: none, or told of before */
    int64_t ca_left_s;     /* until the first of its authorities is over; below 0: it is */
    const char *crl_file;  /* of its clients; NULL: none, none that ends, or told of before */
    uint64_t crl_left_s; /* until the first of its lists is over, and with it all clients are out */
};
/* Of certificate `index`, the listener's own first; false: there is none. Any thread. */
bool fg_tls_context_report(struct fg_tls_context *tls, size_t index,
                           struct fg_tls_certificate_report *report);

/* Those of all listeners (NULL: no TLS) know of each other; the array outlives them. Before threads
 * start. */
void fg_tls_context_join(struct fg_tls_context *const *all, size_t count);

/* Counters of one loop's connections, written by its thread alone. */
struct fg_net_stats {
    struct fg_counter accepted;
    struct fg_counter refused_limit; /* connections_max or per IP */
    struct fg_counter refused_overload;
    struct fg_counter dear_reads;      /* that took more of a turn than their share */
    struct fg_counter reads_cut;       /* of many requests: others had their turn before the rest */
    struct fg_counter writes_cut;      /* the same, of much that there was to say */
    struct fg_counter writes_gathered; /* that waited for more to say */
    struct fg_counter refused_share;   /* for overload: its address holds more than its share */
    struct fg_counter closed_share;    /* the same, of those that made no progress */
    struct fg_counter closed_idle;     /* to make room for newcomers */
    struct fg_counter open;            /* gauge */
    struct fg_counter open_max;        /* gauge; this loop's share of connections_max */
    struct fg_counter handshakes_ok;
    struct fg_counter handshakes_failed;
    struct fg_counter client_certificates_refused; /* of these, for what the client has shown */
    struct fg_counter handshakes_resumed;
    struct fg_counter handshakes_stapled;
    struct fg_counter handshakes_open;    /* gauge; begun and not ended, waiting ones too */
    struct fg_counter handshakes_waiting; /* gauge; for their turn */
    struct fg_counter handshakes_shed;    /* closed since too many waited */
    struct fg_counter handshakes_refused; /* for overload: they would not have resumed */
    struct fg_counter flooders_delayed;   /* their address owes for floods, and comes too often */
    struct fg_counter flooders_refused;   /* the same, and so many of it wait already */
    struct fg_counter timeouts;           /* idle, header, body, write */
    struct fg_counter protocol_errors;    /* answered 400 or GOAWAY */
    struct fg_counter tls_floods;         /* closed for key updates, alerts, empty records */
    struct fg_counter h2_connections;
    struct fg_counter h2_floods;      /* closed for frames without content */
    struct fg_counter h2_indebted;    /* opened with less of an allowance, for earlier ones */
    struct fg_counter tls_by_openssl; /* handshakes behind which OpenSSL goes on: TLS 1.2 */
    struct fg_counter tls_rests; /* ciphers' memory given back by connections that were quiet */
    struct fg_counter requests_h1;
    struct fg_counter requests_h2;
    struct fg_counter bytes_read; /* socket */
    struct fg_counter bytes_written;
    struct fg_counter reads; /* system calls */
    struct fg_counter writes;
};

/* All connections of one loop. */
struct fg_net;

struct fg_net_options {
    struct fg_loop *loop;
    const struct fg_limits_conf *limits; /* the snapshot current at start; see fg_net_set_limits */
    uint64_t handshake_turn_ns;          /* as tls.handshake_turn; 0: no bound */
    size_t handshakes_waiting_max;
    unsigned thread_count;    /* limits for all threads are divided by it */
    bool tells_local_address; /* some server is told where its clients connected to */
    bool is_for_operators;    /* may use the descriptors that are kept from clients */
    const struct fg_request_handler *handler;
    void *handler_ctx;
    struct fg_pressure *pressure;  /* what overload asks for; NULL: nothing, ever */
    struct fg_flood_ledger *debts; /* of addresses, for overhead; NULL: nobody owes anything */
};

struct fg_net *fg_net_create(const struct fg_net_options *options);
/* Limits of a new configuration: for connections and requests that begin from now on. The old ones
 * are not looked at any more when this returns. */
void fg_net_set_limits(struct fg_net *net, const struct fg_limits_conf *limits);
/* Every connection must be closed already (fg_net_drain_done). */
void fg_net_destroy(struct fg_net *net);

/*
 * Start accepting from `fd` (borrowed: closed by the caller after fg_net_stop_accepting). `tls` is
 * NULL for plain kinds; it and `conf` outlive the net. FG_ERR_SYSTEM, FG_ERR_NO_MEMORY.
 */
enum fg_status fg_net_listen(struct fg_net *net, int fd, const struct fg_listener_conf *conf,
                             struct fg_tls_context *tls);

void fg_net_stop_accepting(struct fg_net *net);

/*
 * Graceful end: no more accepts; h2 GOAWAY, h1 "connection: close" on the next response; idle
 * connections close at once; at `deadline_ns` the rest is cut (on_gone FG_GONE_DRAIN).
 * `on_drained(ctx)` runs once when no connection is left; may run before this returns.
 */
void fg_net_drain(struct fg_net *net, uint64_t deadline_ns, void (*on_drained)(void *ctx),
                  void *ctx);

const struct fg_net_stats *fg_net_stats(const struct fg_net *net);

#endif
