/*
 * request.h: one HTTP exchange between a codec (h1 or h2) and whoever handles requests (the
 * pipeline, the admin server). The codec makes it, checks and normalises the head, and streams the
 * bodies.
 *
 *    codec                                      handler
 *      on_request(req)       ---------------->    head is complete; fields of req->ex are set
 *      on_body(req, ...)     ---------------->    only while the handler has credit (see consumed)
 *      on_writable(req)      ---------------->    after body_write returned false
 *      on_gone(req, reason)  ---------------->    the client or its stream went away
 *                            <----------------    fg_response_interim..., _head, _write...,
 *                                                 [_trailers,] _end, or _abort, _give_up, or
 *                                                 _out_of_memory
 *      on_codec_answer       ---------------->    what the client sent is no request
 *      on_done(req)          ---------------->    last call, exactly once for each on_request,
 * after the answer's last byte was handed to the socket or the stream was cut; then the arena is
 * freed
 *
 * Thread   the loop of the connection.
 * Memory   req lives in a slab of the codec's; all of its strings in req->arena, freed after
 * on_done. on_done runs at the end of the turn, never from inside a handler's own call.
 */
#ifndef FG_HTTP_REQUEST_H
#define FG_HTTP_REQUEST_H

#include "backends/backend.h"
#include "base/arena.h"
#include "base/list.h"

struct fg_listener_conf;
struct fg_loop;
struct fg_request;

enum fg_http_version { FG_HTTP_1_0, FG_HTTP_1_1, FG_HTTP_2 };

enum fg_gone_reason {
    FG_GONE_CLIENT_CLOSED, /* connection closed or reset by the client */
    FG_GONE_STREAM_RESET,  /* RST_STREAM */
    FG_GONE_TIMEOUT,       /* body or write timeout; before the answer it is the body's: 408 */
    FG_GONE_PROTOCOL,      /* the client broke the protocol mid-request */
    FG_GONE_TOO_LARGE,     /* the body passed ex.body_bytes_max; before the answer: 413 */
    FG_GONE_DRAIN,         /* the drain deadline passed */
};

/* What the codec does for the handler; called through the inlines below. */
struct fg_response_ops {
    void (*interim)(struct fg_request *req, unsigned status, const struct fg_field *fields,
                    size_t field_count);
    void (*head)(struct fg_request *req, unsigned status, const struct fg_field *fields,
                 size_t field_count, bool is_end);
    bool (*write)(struct fg_request *req, const void *data, size_t len);
    bool (*write_shared)(struct fg_request *req, const void *data, size_t len,
                         void (*release)(void *owner), void *owner);
    void (*trailers)(struct fg_request *req, const struct fg_field *fields, size_t field_count);
    void (*end)(struct fg_request *req);
    void (*abort)(struct fg_request *req);
    void (*out_of_memory)(struct fg_request *req);
    void (*consumed)(struct fg_request *req, size_t len);
    uint64_t (*stalled_since)(const struct fg_request *req);
    void (*give_up)(struct fg_request *req);
};

struct fg_request_handler {
    void (*on_request)(void *handler, struct fg_request *req);
    void (*on_body)(struct fg_request *req, const void *data, size_t len, bool is_last);
    void (*on_writable)(struct fg_request *req);
    void (*on_gone)(struct fg_request *req, enum fg_gone_reason reason);
    void (*on_done)(struct fg_request *req);
    /*
     * The codec answers by itself: a head that is none, for which no other call is made, or a
     * request of which on_gone has been called. `code` is a constant. Only what was read of `ex` is
     * set, and its strings last as long as the call. NULL: nobody wants to know.
     */
    void (*on_codec_answer)(void *handler, struct fg_request *req, unsigned status,
                            const char *code);
    /*
     * The fields of such an answer, to a request that on_request was called for: others may stand
     * in their place, in the request's arena. NULL: nobody has any to add.
     */
    void (*mark_codec_answer)(struct fg_request *req, const struct fg_field **fields,
                              size_t *count);
    /* A redirect listener has answered, and no other call was or is made. NULL: as above. */
    void (*on_listener_answer)(void *handler, struct fg_request *req, unsigned status);
};

struct fg_request {
    struct fg_exchange ex; /* the head as backends see it; first, so that ex and req convert */

    /* connection side, set by the codec */
    struct fg_loop *loop;
    struct fg_arena arena_storage; /* ex.arena points here */
    enum fg_http_version version;
    const char *tls_version; /* "TLSv1.3", or NULL in the clear */
    bool is_tls;
    const struct fg_listener_conf *listener; /* NULL in tests that need none */
    struct fg_span client_user;              /* of the client's certificate; empty without one */
    const struct fg_response_ops *response_ops;
    const struct fg_request_handler *handler;
    void *handler_ctx; /* what on_request got */

    /* counted by the codec, valid in on_done */
    uint64_t bytes_in;      /* request body */
    uint64_t bytes_chunked; /* with what a chunk has announced; of one that is too large for that */
    uint64_t bytes_out;     /* response body */
    uint64_t first_byte_ns; /* monotonic; response head handed to the socket; 0: never */
    bool was_aborted;       /* the answer did not end cleanly */
    uint64_t done_ns;       /* monotonic; when it ended; 0: now, nobody has read the clock */

    /* the handler's own */
    void *handler_state;
    bool ends_with_input; /* h1: a client that closes its own side alone has left, too */
    /* Set before the head: names and values of its fields are constants, or live until the arena
     * does not, so that the codec need not copy what it cannot send at once. */
    bool has_lasting_fields;
};

static inline struct fg_request *fg_request_of(struct fg_exchange *ex)
{
    return FG_CONTAINER_OF(ex, struct fg_request, ex);
}

/* 102 or 103, before the head; dropped for HTTP/1.0. Fields as for the head. */
static inline void fg_response_interim(struct fg_request *req, unsigned status,
                                       const struct fg_field *fields, size_t field_count)
{
    req->response_ops->interim(req, status, fields, field_count);
}

/*
 * Answer. The codec adds framing (content-length passes through, else chunked or h2 DATA), `date`
 * and `server` are the handler's. Bodies of HEAD, 204 and 304 are swallowed. is_end: no body
 * follows and fg_response_end must not be called. Names are lower case. Fields are copied,
 * but for what has_lasting_fields says.
 * Status 101 opens the tunnel that ex.upgrade asked for; is_end is false then.
 */
static inline void fg_response_head(struct fg_request *req, unsigned status,
                                    const struct fg_field *fields, size_t field_count, bool is_end)
{
    req->response_ops->head(req, status, fields, field_count, is_end);
}

/* All is taken (copied); false: stop until on_writable (more than limits.connection_buffer_bytes
 * wait). */
static inline bool fg_response_write(struct fg_request *req, const void *data, size_t len)
{
    return req->response_ops->write(req, data, len);
}

/*
 * The same without copying: `data` stays as it is until `release(owner)`, which is called once, on
 * this thread, perhaps before the call returns. It takes up none of the connection's buffers.
 */
static inline bool fg_response_write_shared(struct fg_request *req, const void *data, size_t len,
                                            void (*release)(void *owner), void *owner)
{
    return req->response_ops->write_shared(req, data, len, release, owner);
}

/* The same of what lives until the request's arena does not. A codec for which that is too short
 * copies it: not for large pieces. */
static inline bool fg_response_write_lasting(struct fg_request *req, const void *data, size_t len)
{
    return req->response_ops->write_shared(req, data, len, NULL, NULL);
}

/*
 * Fields behind the body, before the end; at most once. Dropped where the client cannot have them:
 * no `te: trailers` (h1), or a body that is not chunked. The spans must live until fg_response_end.
 */
static inline void fg_response_trailers(struct fg_request *req, const struct fg_field *fields,
                                        size_t field_count)
{
    req->response_ops->trailers(req, fields, field_count);
}

/*
 * Clean end. If content-length was promised and not met, the stream is aborted instead. An unread
 * rest of the request body is drained (h1: up to a bound, else the connection closes) or the stream
 * is reset with NO_ERROR (h2).
 */
static inline void fg_response_end(struct fg_request *req)
{
    req->response_ops->end(req);
}

/* Cut the stream so that the client sees a failure: RST_STREAM, or the connection closed without
 * the last chunk. Any time after on_request; also when no head was sent. on_done follows. */
static inline void fg_response_abort(struct fg_request *req)
{
    req->response_ops->abort(req);
}

/*
 * The whole answer, head and body, to a request that has no memory left for one of the handler's:
 * 503 with Retry-After, which takes none. Any time after on_request while no head was sent. on_done
 * follows.
 */
static inline void fg_response_out_of_memory(struct fg_request *req)
{
    req->response_ops->out_of_memory(req);
}

/* While write has returned false: when the client last took FG_WRITE_PROGRESS_BYTES, or all that
 * waited; 0: nothing waits for it. */
static inline uint64_t fg_response_stalled_since(const struct fg_request *req)
{
    return req->response_ops->stalled_since(req);
}

/* As abort, for a client that does not read: RST_STREAM with CANCEL, or the connection reset. Also
 * behind the end, before on_done. */
static inline void fg_response_give_up(struct fg_request *req)
{
    req->response_ops->give_up(req);
}

/* `len` bytes from on_body are no longer held: opens the flow window (h2) or reading (h1). */
static inline void fg_request_consumed(struct fg_request *req, size_t len)
{
    req->response_ops->consumed(req, len);
}

#endif
