/*
 * backend.h: the one interface through which the gateway calls a backend (static files, HTTP
 * clusters, orders, inference), and through which a backend answers.
 *
 *    gateway                                   backend
 *      wants_body(thread, ex)  -------------->   a question: the whole body before start?
 *      start(thread, ex)  ------------------->   reads ex, begins
 *      on_body(ex, ...)   ------------------->   request body, in pieces, then is_last
 *                         <-------------------   fg_exchange_consumed: flow control for the body
 *                         <-------------------   fg_exchange_interim...  (103, before the answer)
 *                         <-------------------   fg_exchange_head, _write..., [_trailers,] _end
 *                         <-------------------   or fg_exchange_head_end  (the answer is a head)
 *                         <-------------------   or fg_exchange_refuse / _fail
 *      on_writable(ex)    ------------------->   after _write returned false
 *      cancel(ex)         ------------------->   the client left, or the deadline passed
 *
 * Thread   everything of one exchange happens on the event loop that started it. A backend keeps
 * its state a thread in what thread_open returned; what threads share is its own affair. Ends
 * exactly once: by _end, _refuse or _fail (from the backend), or by cancel (from the gateway).
 * After that the backend must not touch the exchange; a completion that can arrive late (Redis,
 * worker) is matched by handle, not by pointer. Re-entry a backend may answer from inside start,
 * on_body or on_writable; the gateway calls neither on_body, on_writable nor cancel from inside an
 * fg_exchange_* call.
 *
 * Tunnels  where ex->upgrade is set the client asks to switch protocols (WebSocket). A backend that
 * can passes head with status 101; from then on on_body and _write carry the tunnel's bytes,
 * on_body with is_last is the client's end of file, and there is no deadline but the tunnel's idle
 * time. Any other status is an ordinary answer. A backend that does not know of it answers as if it
 * had not been asked. has_body is false all the same; bytes for the tunnel may come before the 101
 * (HTTP/2).
 */
#ifndef FG_BACKEND_H
#define FG_BACKEND_H

#include "backends/last_reads.h"
#include "backends/never_indexed.h"
#include "backends/pressure_shared.h"
#include "base/arena.h"
#include "base/cidr.h"
#include "base/counters_shared.h"
#include "base/helper_pool_shared.h"
#include "base/mailbox_shared.h"
#include "base/span.h"
#include "base/status.h"
#include "policies/priority.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct event_base;

/* One header field; names are lower case and valid tokens, values are checked (RFC 9110 5.5). */
struct fg_field {
    struct fg_span name;
    struct fg_span value;
};

enum fg_method {
    FG_METHOD_GET,
    FG_METHOD_HEAD,
    FG_METHOD_POST,
    FG_METHOD_PUT,
    FG_METHOD_DELETE,
    FG_METHOD_CONNECT,
    FG_METHOD_OPTIONS,
    FG_METHOD_TRACE,
    FG_METHOD_PATCH,
    FG_METHOD_OTHER, /* see method_text */
};

/* Why a backend could not answer; the gateway makes the status, and the breaker learns from it. */
enum fg_failure {
    FG_FAILURE_CONNECT,     /* 502: no endpoint could be reached */
    FG_FAILURE_RESET,       /* 502: the other side went away, or broke the protocol */
    FG_FAILURE_TIMEOUT,     /* 504: the deadline, or the backend's own time limit, passed */
    FG_FAILURE_BUSY,        /* 503: a limit of the backend's own is reached */
    FG_FAILURE_NO_MEMORY,   /* 503: the request's arena or a configured limit is used up */
    FG_FAILURE_INTERNAL,    /* 500: a fault of ours */
    FG_FAILURE_NO_TUNNEL,   /* 502: the servers take no WebSocket the way they are asked for one */
    FG_FAILURE_SLOW_CLIENT, /* the client takes nothing of the answer, and others wait */
    FG_FAILURE_COUNT,
};

/* The connection that a request came on, for servers that are told of it (PROXY protocol). */
struct fg_client_link {
    struct fg_ip local_ip;      /* where the client connected to */
    uint16_t local_port;        /* 0: neither is known */
    uint16_t client_port;       /* 0: not known */
    const char *tls_version;    /* a constant; NULL: no TLS */
    struct fg_span server_name; /* that it asked for in TLS; empty: none */
    bool has_certificate;       /* it showed one that was verified, in this TLS session */
    bool is_resumed;            /* that session goes on from another connection */
    /* Must a request for that authority come by another one? Called by the connection's loop while
     * it is open; NULL: no request is asked. */
    bool (*is_misdirected)(const struct fg_client_link *link, struct fg_span authority);
};

struct fg_exchange;

/* What a backend says that will not serve a request. */
struct fg_backend_refusal {
    unsigned status;
    const char *type; /* constants */
    const char *code;
    const char *message;
    const char *param;    /* of the request, which it is about; NULL: none */
    struct fg_span allow; /* of a 405: the methods that there are */
    /* the limit that decided: then it is counted, logged and explained as a refusal of the
     * gateway's own; NULL: none did. A constant, as is code */
    const char *policy;
    /* what it compared with what; both 0: nothing */
    uint64_t value;
    uint64_t limit;
    uint64_t retry_after_ms; /* 0: coming again is no use */
    bool was_not_asked;      /* no server was asked: it says nothing of how busy they are */
};

/* What the gateway does for a backend; set by the gateway, called through the inlines below. */
struct fg_exchange_ops {
    void (*interim)(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                    size_t field_count);
    void (*head)(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                 size_t field_count);
    void (*head_end)(struct fg_exchange *ex, unsigned status, const struct fg_field *fields,
                     size_t field_count);
    bool (*write)(struct fg_exchange *ex, const void *data, size_t len);
    void (*trailers)(struct fg_exchange *ex, const struct fg_field *fields, size_t field_count);
    void (*end)(struct fg_exchange *ex);
    void (*refuse)(struct fg_exchange *ex, const struct fg_backend_refusal *refusal);
    void (*fail)(struct fg_exchange *ex, enum fg_failure failure, const char *detail);
    void (*would_refuse)(struct fg_exchange *ex, const struct fg_backend_refusal *refusal); /* NULL:
                                                                     nobody is to know */
    void (*consumed)(struct fg_exchange *ex, size_t len);
    void (*hop_time)(struct fg_exchange *ex, const char *hop, uint64_t duration_ns);
    void (*release_slot)(struct fg_exchange *ex);
    bool (*try_extra_slot)(struct fg_exchange *ex); /* NULL: nothing bounds them */
    void (*give_extra_slot)(struct fg_exchange *ex);
    uint64_t (*stalled_since)(const struct fg_exchange *ex); /* NULL: nobody ever stalls */
};

/* One request as a backend sees it. Owned by the gateway; spans live until the exchange ends. */
/* The version of HTTP that the client spoke. */
enum fg_spoken { FG_SPOKEN_1_1, FG_SPOKEN_1_0, FG_SPOKEN_2 };

/* Who answered, or failed last, of a backend with servers. */
struct fg_answerer {
    struct fg_span endpoint; /* of the exchange's arena; empty: none was chosen */
    unsigned attempts;       /* with those that failed; a hedge is one as well */
    bool was_hedged;
};

struct fg_exchange {
    /* identity */
    struct fg_span request_id;
    struct fg_span user_id;     /* empty: anonymous */
    struct fg_span client_addr; /* textual IP address */
    struct fg_span peer_addr;   /* of who is connected: the client, or the last proxy before us */
    const struct fg_client_link *link; /* to peer_addr; NULL: a request of our own */

    /* request head */
    enum fg_method method;
    struct fg_span method_text;
    struct fg_span scheme;    /* "https" or "http" */
    struct fg_span authority; /* host[:port] */
    struct fg_span path;      /* normalised once, starts with '/', no query */
    struct fg_span query;     /* without '?', raw; data is NULL when there was none */
    const struct fg_field *fields;
    size_t field_count;
    int64_t content_length; /* -1: not stated; 0: no body */
    bool has_body;          /* on_body will be called, the last time with is_last */
    bool accepts_trailers;  /* the client said so (TE: trailers); HTTP/2 takes them anyway */
    struct fg_span upgrade; /* protocol asked for, "websocket"; data NULL: none, see Tunnels */
    enum fg_spoken protocol;
    struct fg_never_indexed *never_indexed; /* of fields and trailers; NULL: none */

    /* behind the body: valid once on_body has said is_last */
    struct fg_field *trailers;
    size_t trailer_count;

    /* route and limits */
    struct fg_span route;    /* its name in the configuration */
    bool may_be_cached;      /* the answer may be kept here and given to others */
    uint64_t body_bytes_max; /* the gateway enforces it while the body streams */
    enum fg_priority priority;
    uint32_t priority_number; /* class and the user's lot (policies/priority); smaller goes first */
    uint64_t started_ns;      /* monotonic */
    uint64_t deadline_ns;     /* monotonic */
    /* where only the head of the answer is due by deadline_ns: the end that the client has set for
     * all of it, UINT64_MAX without one; 0: all of it is due by deadline_ns */
    uint64_t stream_deadline_ns;
    bool is_lasting; /* such an answer, which may go on for hours without work for the server */

    /* memory of the request, for whatever lives as long */
    struct fg_arena *arena;

    /* the backend's own, NULL at start */
    void *backend_state;

    /* said by the backend, before it gives the fields: those of the answer that came so marked */
    const struct fg_never_indexed *answer_never_indexed;

    /* said by the backend, for the log and whoever asks why */
    struct fg_answerer answerer;

    /* said by the backend: what the answer has cost until now, and whether that is all of it; read
     * when the exchange has ended */
    /* of inference: of the prompt, from when it is being computed, and of the answer so far */
    uint64_t tokens_used;
    bool counts_tokens; /* the backend does; false: nobody knows how many there were */

    /* the gateway's */
    const struct fg_exchange_ops *ops;
};

/*
 * An interim answer (103 Early Hints, 102), before the head, as often as it likes; dropped where
 * the client cannot have it. 100 and 101 are not for here: the gateway says 100 by itself. The
 * fields are copied before the call returns.
 */
static inline void fg_exchange_interim(struct fg_exchange *ex, unsigned status,
                                       const struct fg_field *fields, size_t field_count)
{
    ex->ops->interim(ex, status, fields, field_count);
}

/*
 * Begin the answer. Names lower case, no hop-by-hop fields; "content-length" is given when known,
 * else the gateway frames by itself. The spans must live until the exchange ends (constants, or the
 * exchange's arena). Once only. The gateway adds date, request id, traceparent and timing.
 */
static inline void fg_exchange_head(struct fg_exchange *ex, unsigned status,
                                    const struct fg_field *fields, size_t field_count)
{
    ex->ops->head(ex, status, fields, field_count);
}

/* The head is all of the answer, as that of a gRPC call that fails at once; `ex` is gone. */
static inline void fg_exchange_head_end(struct fg_exchange *ex, unsigned status,
                                        const struct fg_field *fields, size_t field_count)
{
    ex->ops->head_end(ex, status, fields, field_count);
}

/*
 * Append to the answer's body; `data` is copied before the call returns. All is taken; false asks
 * the backend to write no more until on_writable.
 */
static inline bool fg_exchange_write(struct fg_exchange *ex, const void *data, size_t len)
{
    return ex->ops->write(ex, data, len);
}

/*
 * After a write that returned false: when the client last took 4 KiB of this answer or what there
 * was; 0: it is not the client that keeps it, or others read along. By the gateway's monotonic
 * clock.
 */
static inline uint64_t fg_exchange_stalled_since(const struct fg_exchange *ex)
{
    return ex->ops->stalled_since == NULL ? 0 : ex->ops->stalled_since(ex);
}

/*
 * Fields behind the body, once, after the last write and before the end; dropped where the client
 * cannot have them. Spans and names as for the head.
 */
static inline void fg_exchange_trailers(struct fg_exchange *ex, const struct fg_field *fields,
                                        size_t field_count)
{
    ex->ops->trailers(ex, fields, field_count);
}

/* The answer is complete; `ex` is gone. */
static inline void fg_exchange_end(struct fg_exchange *ex)
{
    ex->ops->end(ex);
}

/*
 * Instead of head: a complete JSON error answer, {"error":{"type","code","message",...}}. Nothing
 * of the refusal is kept. `ex` is gone.
 */
static inline void fg_exchange_refuse(struct fg_exchange *ex,
                                      const struct fg_backend_refusal *refusal)
{
    ex->ops->refuse(ex, refusal);
}

/* In shadow: a limit of the backend's (policy, code, value, limit) lets it pass all the same. */
static inline void fg_exchange_would_refuse(struct fg_exchange *ex,
                                            const struct fg_backend_refusal *refusal)
{
    if (ex->ops->would_refuse != NULL)
        ex->ops->would_refuse(ex, refusal);
}

/*
 * The backend failed. Before head: an error answer; after it: the stream is aborted, so that no
 * client takes the part for the whole. `detail` is a constant for the log. `ex` is gone.
 */
static inline void fg_exchange_fail(struct fg_exchange *ex, enum fg_failure failure,
                                    const char *detail)
{
    ex->ops->fail(ex, failure, detail);
}

/* `len` bytes handed over by on_body have been used; opens the client's flow window again. */
static inline void fg_exchange_consumed(struct fg_exchange *ex, size_t len)
{
    ex->ops->consumed(ex, len);
}

/* Time spent in a hop of the backend's, for Server-Timing; `hop` is a constant token. Before head.
 */
static inline void fg_exchange_hop_time(struct fg_exchange *ex, const char *hop,
                                        uint64_t duration_ns)
{
    ex->ops->hop_time(ex, hop, duration_ns);
}

/* The value of a request field by lower-case name; data is NULL when absent. The first one wins. */
static inline struct fg_span fg_exchange_field(const struct fg_exchange *ex, struct fg_span name)
{
    for (size_t i = 0; i < ex->field_count; i++) {
        if (fg_span_equal(ex->fields[i].name, name))
            return ex->fields[i].value;
    }
    return (struct fg_span){NULL, 0};
}

/* The same of a field that is no list. One that is there twice says nothing: others may take the
 * other one. */
static inline struct fg_span fg_exchange_single_field(const struct fg_exchange *ex,
                                                      struct fg_span name)
{
    struct fg_span found = {NULL, 0};
    for (size_t i = 0; i < ex->field_count; i++) {
        if (!fg_span_equal(ex->fields[i].name, name))
            continue;
        if (found.data != NULL)
            return (struct fg_span){NULL, 0};
        found = ex->fields[i].value;
    }
    return found;
}

/*
 * From here on the exchange only waits for events (server-sent events): its slot in the backend's
 * concurrency limit goes to others. After head.
 */
static inline void fg_exchange_release_slot(struct fg_exchange *ex)
{
    ex->ops->release_slot(ex);
}

/*
 * Before head: a second server may be asked beside the first, by a slot that nobody else wants. It
 * is given back when one of the two is left alone, or by itself at the end of the exchange.
 */
static inline bool fg_exchange_try_extra_slot(struct fg_exchange *ex)
{
    return ex->ops->try_extra_slot == NULL || ex->ops->try_extra_slot(ex);
}
static inline void fg_exchange_give_extra_slot(struct fg_exchange *ex)
{
    if (ex->ops->give_extra_slot != NULL)
        ex->ops->give_extra_slot(ex);
}

/* What a backend gets of the event loop it runs on. Lives as long as the loop. */
struct fg_backend_env {
    struct event_base *base;
    struct fg_mailbox *mailbox;    /* of this loop, drained by the gateway */
    struct fg_helper_pool *helper; /* shared by all loops; NULL in unit tests that need none */
    struct fg_pressure *pressure;  /* what overload asks for; NULL: nothing, ever */
    const struct fg_counter *shed_at_ns; /* when the backend's own gate last refused; may be NULL */
    const struct fg_counter *waiting;    /* how many wait for its slots; may be NULL */
    uint32_t slots;                      /* of its limit, at the begin; 0: not known */
    const uint64_t *turn;        /* the number of the loop's turn; NULL: nobody counts them */
    struct fg_last_reads *reads; /* of the loop; a proxy has need of it */
    unsigned thread_index;
    unsigned thread_count;
};

struct fg_backend;        /* one configured backend; embedded first in the backend's own struct */
struct fg_backend_thread; /* its state on one event loop; likewise */

/*
 * For so long an upload has its slot that waits for its client; then others may have it, and what
 * becomes of it is the client's doing. No key: sooner, slots would go to and fro for bodies that
 * are on their way; later, few slow clients would hold all slots for longer. Where a server must
 * not see more than its limit at all, `buffer_request` is the key.
 */
#define FG_SLOW_UPLOAD_NS (FG_S / 10)

struct fg_backend_ops {
    const char *kind; /* "static", "proxy", "orders", "inference" */

    /* State for one event loop, on that loop's thread before it serves. NULL with `error` set. */
    struct fg_backend_thread *(*thread_open)(struct fg_backend *backend,
                                             const struct fg_backend_env *env,
                                             struct fg_error *error);
    /* No exchange is open any more. */
    void (*thread_close)(struct fg_backend_thread *thread);

    /*
     * Whether it can do nothing for a request before it has the whole body, and how long one may
     * be. Then the body is read before the request takes a place of the backend's, which a client
     * that announces one and does not send it would hold; 413 is answered to a longer one. on_body
     * is called once, right behind `start`, with all of it (is_last), which stays as it is until
     * the exchange ends, and nobody need say consumed. NULL: never; it takes bodies in pieces.
     * False for what is answered by its head alone. Changes nothing; asked where has_body is set.
     */
    bool (*wants_body)(const struct fg_backend_thread *thread, const struct fg_exchange *ex,
                       uint64_t *bytes_max);
    void (*start)(struct fg_backend_thread *thread, struct fg_exchange *ex);
    void (*on_body)(struct fg_exchange *ex, const void *data, size_t len, bool is_last);
    void (*on_writable)(struct fg_exchange *ex);
    /* Its client takes long to send the rest: what it holds as the next in turn is for others until
     * on_body says is_last. NULL: there is no such thing. */
    void (*set_aside)(struct fg_exchange *ex);
    void (*cancel)(struct fg_exchange *ex);

    /* Can it serve now? For /readyz. Any thread; *why is a constant. */
    bool (*is_ready)(struct fg_backend *backend, const char **why);
    /* Totals and gauges into a JSON object, for /stats and /metrics. Any thread. */
    void (*stats)(struct fg_backend *backend, json_t *into);
    /* Fill in what it knows of the resources that overload watches; NULL: of none. One thread,
     * some ten times a second. */
    void (*sample)(struct fg_backend *backend, uint64_t now_ns, struct fg_overload_sample *sample);

    void (*destroy)(struct fg_backend *backend);
};

struct fg_backend {
    const struct fg_backend_ops *ops;
    const char *name; /* in the configuration */
};

struct fg_backend_thread {
    struct fg_backend *backend;
};

#endif
