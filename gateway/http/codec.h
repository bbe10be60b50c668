/*
 * codec.h: between a connection (bytes, TLS, sockets) and a codec (requests, answers).
 *
 *    connection                               codec
 *      input(bytes)         --------------->    what it cannot take yet stays with the connection
 *      produce(room)        --------------->    the next bytes for the client, as the socket takes
 * them flushed()            --------------->    all that was produced is in the socket on_timeout,
 * on_cut, drain, adjust --->
 *                           <---------------  wake: there is something to produce
 *                           <---------------  resume_input: what was held back can be taken now
 *                           <---------------  arm / disarm: the connection's one timeout
 *                           <---------------  close
 *
 * Pulling instead of pushing means that an answer waits where it is counted, in its stream, and
 * that a connection at rest owns no buffers.
 *
 * Thread   the loop's. None of the calls to the connection calls back before it returns.
 */
#ifndef FG_HTTP_CODEC_H
#define FG_HTTP_CODEC_H

#include "http/head.h"
#include "http/request.h"
#include "base/block_pool.h"
#include "base/byte_queue.h"
#include "net/timeouts.h"

struct fg_h1_start; /* a parser where a head's fields begin; of h1_head.c */
struct fg_net_stats;
struct fg_stream;

/* What all connections of one loop share. Owned by the net object. */
struct fg_codec_env {
    struct fg_loop *loop;
    const struct fg_limits_conf *limits;
    struct fg_net_stats *stats;
    struct fg_timeouts timeouts;
    struct fg_segment_pool segments;
    struct fg_block_pool blocks;    /* what is small and comes and goes */
    struct fg_stream *free_streams; /* see stream.h */
    size_t free_stream_count;
    size_t stream_count;    /* in use */
    uint64_t streams_moved; /* taken into use and let go, ever */
    uint64_t random[2];     /* for request ids */
    struct fg_known_authority known_authority;
    struct fg_h1_start *h1_start;
    bool is_draining;
    struct fg_pressure *pressure; /* what overload asks for; NULL: nothing, ever */
};

/* FG_ERR_NO_MEMORY, FG_ERR_SYSTEM (no random bytes). */
FG_MUST_USE enum fg_status fg_codec_env_init(struct fg_codec_env *env, struct fg_loop *loop,
                                             const struct fg_limits_conf *limits,
                                             struct fg_net_stats *stats);
/* Every codec is gone. */
void fg_codec_env_fini(struct fg_codec_env *env);

struct fg_transport;

/* Does overload want a connection closed that otherwise would be kept? Counts it. */
bool fg_codec_must_close(struct fg_transport *transport);

/* The client broke the protocol where no answer can say so: counted, and logged now and then. */
void fg_codec_note_error(struct fg_transport *transport, const char *version, const char *reason);

/* 32 hexadecimal digits, unlikely ever to be made again; not a secret. */
void fg_codec_make_request_id(struct fg_codec_env *env, char id[32]);

enum fg_close_mode {
    FG_CLOSE_FLUSH,  /* send what is produced, then close */
    FG_CLOSE_LINGER, /* the same, but let the client finish talking so that it can read the answer
                      */
    FG_CLOSE_RESET,  /* at once, so that the client sees a failure */
};

struct fg_transport_ops {
    void (*wake)(struct fg_transport *transport);
    void (*resume_input)(struct fg_transport *transport);
    void (*arm)(struct fg_transport *transport, enum fg_timeout_class class);
    void (*disarm)(struct fg_transport *transport);
    void (*close)(struct fg_transport *transport, enum fg_close_mode mode);
    /* When the socket, which is full, last took FG_WRITE_PROGRESS_BYTES; 0: it is not full. */
    uint64_t (*stalled_since)(const struct fg_transport *transport);
    /* Its address keeps to its share, while others hold far more than theirs. */
    bool (*is_spared)(struct fg_transport *transport);
};

/* The connection as a codec sees it; embedded first in the connection. */
struct fg_transport {
    const struct fg_transport_ops *ops;
    struct fg_codec_env *env;
    const struct fg_request_handler *handler;
    void *handler_ctx;
    const struct fg_listener_conf *listener; /* NULL in tests that need none */
    struct fg_span client_addr;              /* lives as long as the connection */
    struct fg_span client_user;              /* of its certificate; empty without one */
    struct fg_client_link link;
    uint64_t overhead_owed;  /* by its address: a codec gives it that much less of a burst */
    uint64_t overhead_spent; /* told by the codec in on_cut: beyond what every client is given */
    uint32_t begun;          /* requests, since others had their turn */
    uint32_t begun_max;      /* so many, and the codec takes no more input; 0: any number */
    bool is_tls;
    bool has_flooded; /* its codec has ended it for that */
    bool is_shared;   /* a trusted proxy's: many clients' */
};

/* Others are to have their turn before it takes the rest of its input. */
static inline bool fg_transport_gives_way(const struct fg_transport *transport)
{
    return transport->begun_max > 0 && transport->begun >= transport->begun_max;
}

struct fg_codec;

struct fg_codec_ops {
    /* Returns how much was taken; less than len: keep the rest until resume_input, or until it
     * gives way no more. */
    size_t (*input)(struct fg_codec *codec, const char *data, size_t len);
    /* Writes up to `room` (at least 512) bytes; 0: nothing to say now. */
    size_t (*produce)(struct fg_codec *codec, char *to, size_t room);
    void (*flushed)(struct fg_codec *codec);
    /*
     * The client says no more; may_listen: but it may still read. May be called again when that has
     * ended as well. The codec decides whether it closes the connection.
     */
    void (*on_eof)(struct fg_codec *codec, bool may_listen);
    /* HEADER and IDLE of the connection's timeout. */
    void (*on_timeout)(struct fg_codec *codec, enum fg_timeout_class class);
    /* The connection is dead: requests hear on_gone, then on_done. Nothing is produced any more. */
    void (*on_cut)(struct fg_codec *codec, enum fg_gone_reason reason);
    /* Take no new requests; close when the open ones are done. */
    void (*drain)(struct fg_codec *codec);
    /*
     * When its client last made progress, if it is the client alone that nothing moves: no request,
     * or a head, a body or an answer that does not get on; `is_idle`: it is the first of these. 0:
     * somebody is at work for it.
     */
    uint64_t (*waits_since)(struct fg_codec *codec, bool *is_idle);
    /* What overload asks for may have changed. */
    void (*adjust)(struct fg_codec *codec);
    void (*destroy)(struct fg_codec *codec); /* after on_cut, or when no request is open */
};

struct fg_codec {
    const struct fg_codec_ops *ops;
    struct fg_transport *transport;
    size_t unanswered; /* streams whose answer is not complete; stream.c counts them */
    /* HTTP/2: what of it may wait until it is more, and leave in one write with that. */
    size_t awaited;      /* streams whose answer has not begun; stream.c counts them */
    size_t unsaid_bytes; /* of answers, since it last produced anything; a head counts as one */
    bool has_urgent;     /* there is more than answers to say: a stream ends when it is said */
};

/* NULL when memory is short. */
struct fg_codec *fg_h1_create(struct fg_transport *transport);
struct fg_codec *fg_h2_create(struct fg_transport *transport);

#endif
