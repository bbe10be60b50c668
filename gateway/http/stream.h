/*
 * stream.h: one request in a codec: the struct fg_request that handlers see, and what both codecs
 * keep about it.
 *
 *    free --acquire--> HEAD --on_request--> OPEN --end/abort--> ENDED --on_done--> free
 *                        `-- error answer -------------------->  |
 *                                             OPEN --on_gone--> GONE --on_done--> free
 *
 * Thread   the loop's.
 * Memory   from a free list of the loop's; never more than connections x streams of each.
 */
#ifndef FG_HTTP_STREAM_H
#define FG_HTTP_STREAM_H

#include "backends/h2_check.h"
#include "backends/trailers.h"
#include "base/prefetch.h"
#include "http/codec.h"
#include "http/h2_wire.h"
#include "http/head.h"
#include "http/priority_field.h"
#include "net/loop.h"

enum fg_stream_state {
    FG_STREAM_HEAD,  /* no handler has seen it */
    FG_STREAM_OPEN,  /* the handler owes an answer */
    FG_STREAM_ENDED, /* the handler has finished (or the codec answers); on_done is due if seen */
    FG_STREAM_GONE,  /* on_gone was called; on_done is due */
    FG_STREAM_STATE_COUNT,
};

/* What a frame of the answer says that HTTP/2 has not made yet: a head, or what stands behind. */
struct fg_said_head {
    struct fg_said_head *next;
    const struct fg_field *fields; /* they last as long as the request */
    size_t count;
    size_t bytes;    /* of the frame at most */
    void *block;     /* of the loop's, that holds this and the fields; NULL: the request's arena */
    bool is_last;    /* it ends the stream */
    unsigned status; /* 0: trailers */
    const struct fg_never_indexed *never;
};

struct fg_stream {
    struct fg_request req; /* first: a request and its stream convert */

    /* identity and links */
    struct fg_codec *codec;
    struct fg_list link; /* in the codec's list */
    struct fg_stream *next_free;
    struct fg_h2_wire wire; /* h2 */

    /* state */
    enum fg_stream_state state;
    bool was_seen;            /* on_request ran, so on_done must */
    bool is_head_sent;        /* head() was called */
    bool is_body_swallowed;   /* HEAD, 204, 205, 304 */
    bool is_chunked;          /* h1 answer */
    bool is_writer_blocked;   /* write() returned false */
    bool is_body_complete;    /* is_last was delivered */
    bool is_refusing;         /* the body is ignored from now on */
    bool has_too_large;       /* body_bytes_max was passed */
    bool owes_continue;       /* h1: Expect: 100-continue not answered yet */
    bool is_tunnel;           /* answered 101: both bodies are the tunnel's */
    bool owes_reset;          /* h2: answered whole, while the client still sends its body */
    bool is_lingering;        /* h2: that answer is out, the reset waits for what is on its way */
    bool may_drain;           /* h2: which is then read, within bounds */
    bool has_said_trailers;   /* h2: its content is out */
    bool has_priority;        /* h2: of fields; an update goes over it */
    bool has_bad_priority;    /* h2: one of these is malformed, and so there is none */
    enum fg_http_error error; /* h2: what is wrong with the head so far */
    struct fg_priority_field priority; /* h2: what they say */
    struct fg_h2_check check;          /* h2 */
    int64_t response_left;             /* of the promised content-length; -1: none promised */

    /* counters */
    uint64_t ends_at;  /* h1: of all that the codec says, where this answer is over */
    size_t taken;      /* h2: of the answer, since write_timeout was armed */
    size_t unconsumed; /* request body handed over and still held by the handler */
    size_t unwanted;   /* h2: of the request body, that nobody takes */
    size_t brought;    /* of the request body, since moved_ns */
    uint64_t moved_ns; /* when the request last came on by FG_WRITE_PROGRESS_BYTES, or began */
    uint64_t out_seen; /* req.bytes_out when the body was last found silent */

    /* fields behind the bodies */
    struct fg_trailers trailers; /* the request's */
    const struct fg_field *response_trailers;
    size_t response_trailer_count;

    struct fg_said_head *said_first; /* h2: heads whose frames are not made yet, in their order */

    struct fg_timeout body_timeout;
    struct fg_timeout write_timeout;

    /* buffers */
    struct fg_byte_queue out; /* h2: answer's body */
    struct fg_head head;      /* while it is being read */
};

/*
 * Pieces of a body smaller than FG_SMALL_PIECE are gathered, while one input is read, up to
 * FG_GATHER_BYTES: a client that cuts its body small must not cost a call and a write for each.
 */
#define FG_SMALL_PIECE ((size_t)512)
#define FG_GATHER_BYTES ((size_t)4096)

/* Most request body bytes that a handler may hold without consuming them, for either version. */
#define FG_BODY_WINDOW ((size_t)65536)

static inline struct fg_stream *fg_stream_of(struct fg_request *req)
{
    return FG_CONTAINER_OF(req, struct fg_stream, req);
}

/* A fresh stream with an empty arena; NULL when memory is short. */
struct fg_stream *fg_stream_acquire(struct fg_codec *codec, enum fg_http_version version,
                                    const struct fg_response_ops *ops);
/* The memory that the next one begins in. */
static inline void fg_stream_prefetch(const struct fg_codec_env *env)
{
    fg_prefetch(env->free_streams, offsetof(struct fg_stream, head));
    fg_arena_pool_prefetch(fg_loop_arena_pool(env->loop));
}
/* Frees the arena; no callback of the stream's may be due. */
void fg_stream_release(struct fg_stream *stream);

/* The head is complete: fills the exchange in. */
enum fg_http_error fg_stream_finish_head(struct fg_stream *stream);

/*
 * Nothing of the body has come for the time that it may be silent. Is it late? Not while there is
 * an answer that goes on (who listens need not talk), nor where the route has a time of its own for
 * that: its caller waits as long again.
 */
bool fg_stream_is_body_late(struct fg_stream *stream);

/* on_request. The stream may be answered when it returns. */
void fg_stream_begin(struct fg_stream *stream);

/* The stream hears no more of its handler: on_gone if it was open. */
void fg_stream_gone(struct fg_stream *stream, enum fg_gone_reason reason);

/* on_done if on_request ran, then releases it. */
void fg_stream_finish(struct fg_stream *stream);

/* Moves state; asserts that the move is a legal one. */
void fg_stream_set_state(struct fg_stream *stream, enum fg_stream_state next);

/*
 * Answer with an error by the codec's own ops, without memory of the request's. The stream must not
 * be OPEN and must have no head sent.
 */
void fg_stream_answer_error(struct fg_stream *stream, enum fg_http_error error);

/* fg_response_out_of_memory: the same for an OPEN stream. */
void fg_stream_out_of_memory(struct fg_request *req);

/*
 * Book `len` bytes of request body against body_bytes_max; false when it is passed, and then the
 * codec must see to it that the stream is refused.
 */
bool fg_stream_count_body(struct fg_stream *stream, size_t len);

/*
 * How much of `len` bytes of the answer's body to send, booked against the promised content-length:
 * nothing of a body that is not sent, and no more than was promised, for that would be taken for
 * the next answer.
 */
size_t fg_stream_count_answer(struct fg_stream *stream, size_t len);

/* Is it the client alone for whom a request waits that has not come in whole? */
bool fg_stream_awaits_client(const struct fg_stream *stream);

/* The body is too large: on_gone, then 413 or an abort. */
void fg_stream_refuse_body(struct fg_stream *stream);

/* A trailer section that cannot be taken, as an error of the head's kind. */
enum fg_http_error fg_stream_trailer_error(enum fg_status status);

/* All trailers of the request are there: the exchange gets them. Before the last on_body. */
void fg_stream_set_trailers(struct fg_stream *stream);

/*
 * The head of the answer is being written: before its fields. True: it has no body, whatever these
 * say. A 204 does not even have a length (RFC 9110 section 8.6), that of a 205 is 0 (15.3.6).
 */
bool fg_stream_begin_answer(struct fg_stream *stream, unsigned status);

#endif
