/*
 * h2_internal.h: the HTTP/2 codec's state, shared by its files.
 *    h2.c           session, settings, time-outs, shutting down
 *    h2_request.c   from nghttp2's callbacks to requests
 *    h2_response.c  from the handler's calls to frames
 *    h2_head.c      heads of answers in frames of ours
 *    h2_drain.c     bodies that go on behind their answers
 *    h2_guard.c     floods, and frames for streams that are no more
 *    h2_priority.c  the order of answers that a client asks for in frames
 * Thread   the loop's.
 */
#ifndef FG_HTTP_H2_INTERNAL_H
#define FG_HTTP_H2_INTERNAL_H

#include "backends/h2_input.h"
#include "backends/hpack.h"
#include "backends/hpack_reader.h"
#include "http/stream.h"

#include <nghttp2/nghttp2.h>

/* Less room than this is left unused rather than filled with a small frame. */
#define FG_H2_ROOM_MIN ((size_t)512)

/* A longer frame of a head is the session's to make. What produce is first given has room for one.
 */
#define FG_H2_HEAD_MAX ((size_t)4000)

#define FG_H2_CONNECTION_WINDOW 262144

/* The payload of a PRIORITY_UPDATE, as it comes in. */
struct fg_h2_update {
    size_t len;
    bool is_cut; /* more than has room, which says nothing to us */
    uint8_t text[124];
};

struct fg_h2_waiting; /* the priority of a stream to come */

enum fg_h2_shutdown {
    FG_H2_RUNNING,
    FG_H2_NOTICED, /* GOAWAY with the highest id and a PING: the client learns not to open streams
                    */
    FG_H2_FINAL,   /* GOAWAY with the last id served */
};

struct fg_h2 {
    struct fg_codec codec; /* first */
    nghttp2_session *session;

    struct fg_list streams;  /* known to the session, or owed an answer by a handler */
    struct fg_list finished; /* closed; on_done when what they said is in the socket */
    struct fg_list drains;   /* of h2_drain.c */

    /* state */
    enum fg_h2_shutdown shutdown;
    uint32_t request_count;
    uint32_t streams_max;    /* that the client may open at once, as it was last told */
    bool awaits_ack;         /* of SETTINGS: no further ones until then */
    bool is_head_timed;      /* a header block has begun, and has to end in time */
    bool owes_resets;        /* some streams do */
    uint32_t drains_leave;   /* of all drains together */
    bool has_failed;         /* the session is beyond use */
    uint64_t moved_ns;       /* when DATA of any stream was last sent */
    uint64_t rests_since_ns; /* the last stream was done, or the connection opened */

    /* h2_guard.c */
    uint32_t allowance;         /* of frames that bring nothing */
    uint64_t allowance_ns;      /* when time was last counted in */
    uint64_t opened_ns;         /* the connection */
    uint64_t spent;             /* of the allowance in all, less what DATA earned */
    int32_t newest_id;          /* of the client's streams */
    uint64_t opened;            /* bit n: stream newest_id - 2n was opened */
    struct fg_h2_resets resets; /* streams that we reset */
    uint32_t resets_paid;       /* that we shall send and the client has paid for */
    uint32_t resets_owed;       /* that we have sent and it has not */

    /* what the client says */
    struct fg_h2_input input;
    struct fg_hpack_reader reader;

    /* h2_priority.c */
    struct fg_h2_update update;
    struct fg_h2_waiting *waiting; /* NULL: none was ever */
    size_t waiting_count;
    size_t waiting_max;

    /* when has_failed */
    uint32_t failure_code; /* for the last GOAWAY */
    bool has_spoken;       /* the session has said something */
    bool has_said_why;     /* that GOAWAY is out */

    /* while reading one input: small DATA, see FG_SMALL_PIECE */
    char *gather;
    size_t gather_len;
    struct fg_stream *gather_stream;

    /* memory */
    void *frame_buffer; /* the session's, of env->frames; NULL: it is elsewhere */
    void *stream_table; /* the same, of env->tables */
    struct fg_timeout rest;
    bool has_spoken_lately; /* since `rest` was armed */

    /* while producing */
    char *to;
    size_t room;
    const uint8_t *pending; /* the session's, valid until it is asked for more */
    size_t pending_len;

    /* heads of answers, in frames of ours */
    struct fg_hpack hpack;
    struct fg_stream *due; /* its head is next; a frame of the session's stood for it */
    uint8_t due_frame[FG_H2_FRAME_HEAD];
};

static inline struct fg_h2 *fg_h2_of(struct fg_codec *codec)
{
    return FG_CONTAINER_OF(codec, struct fg_h2, codec);
}

extern const struct fg_response_ops fg_h2_response_ops;

/* Sets the callbacks by which requests come in. */
void fg_h2_set_request_callbacks(nghttp2_session_callbacks *callbacks);
/* Sets the callback by which bodies go out. */
void fg_h2_set_response_callbacks(nghttp2_session_callbacks *callbacks);

/*
 * h2_head.c: what the head of an answer, an interim one or trailers say. Fields are copied where
 * they do not last. False: not even the session has memory for it.
 */
bool fg_h2_say_head(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                    const struct fg_field *fields, size_t field_count,
                    const nghttp2_data_provider *body);
bool fg_h2_say_interim(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                       const struct fg_field *fields, size_t field_count);
bool fg_h2_say_trailers(struct fg_h2 *h2, struct fg_stream *stream);
/* The session has made the stream's next HEADERS frame: the one of ours is due, if it is ours. */
void fg_h2_note_head(struct fg_h2 *h2, struct fg_stream *stream);
/* Puts the frame that is due; false: it has to wait for more room. */
bool fg_h2_put_due(struct fg_h2 *h2);

/* fg_h2_input_take with fg_h2_guard_ops. 0, or an error of the session's or
 * NGHTTP2_ERR_CALLBACK_FAILURE with failure_code set: the session can go on no more. */
int fg_h2_guarded_recv(struct fg_h2 *h2, const uint8_t *data, size_t len);
extern const struct fg_h2_input_ops fg_h2_guard_ops;
/* h2_request.c: reads the whole block that is there: for its stream; for `check` alone, when its
 * request is answered; or for the table alone. The same. */
int fg_h2_read_block(struct fg_h2 *h2, int32_t id, struct fg_stream *stream,
                     struct fg_h2_check *check, bool is_trailer);

/* A reset undoes a request that was begun, upstream as well: far more work than another frame. */
#define FG_H2_RESET_COST 8u
/* Take from the connection's allowance; false, with failure_code set, when it is used up. */
FG_MUST_USE bool fg_h2_spend(struct fg_h2 *h2, uint32_t cost);
void fg_h2_earn(struct fg_h2 *h2, uint32_t gained);
/* At the beginning: the burst, less what the address owes, but for a part that everybody gets. */
void fg_h2_guard_open(struct fg_h2 *h2);
/* At the end: what its address is to owe for this connection. Says it once. */
void fg_h2_guard_close(struct fg_h2 *h2);
void fg_h2_note_opened(struct fg_h2 *h2, int32_t id);
/* The frame that resets it is out: one for what the client has done is its debt. */
void fg_h2_note_reset_sent(struct fg_h2 *h2, int32_t id, uint32_t error_code);

/* The handler has ended, the body has not: the client may send the rest, if it is to be read. */
void fg_h2_drain_open(struct fg_h2 *h2, const struct fg_stream *stream);
/* The answer is out before the body's end: from now on the session alone knows the stream, and what
 * comes is thrown away. False: it is not to be read. */
bool fg_h2_drain_begin(struct fg_h2 *h2, struct fg_stream *stream);
/* DATA has come for a stream whose handler has ended. False, with failure_code set: more small
 * pieces than a connection may send that bring nothing. */
FG_MUST_USE bool fg_h2_drain_note(struct fg_h2 *h2, int32_t id, size_t len);
/* What is known of the request whose body is read behind its answer; NULL: none is, there. */
struct fg_h2_check *fg_h2_drain_check(struct fg_h2 *h2, int32_t id);
/* The stream is no more; it need not have been one that drains. */
void fg_h2_drain_forget(struct fg_h2 *h2, int32_t id);
void fg_h2_drain_forget_all(struct fg_h2 *h2);

/* Sets the callbacks by which PRIORITY_UPDATE comes in. */
void fg_h2_set_priority_callbacks(nghttp2_session_callbacks *callbacks);
/* A whole PRIORITY_UPDATE is there. False, with failure_code set: the connection cannot go on. */
FG_MUST_USE bool fg_h2_take_update(struct fg_h2 *h2, int32_t frame_stream_id);
/* The stream has opened: what was said of it before counts now, or else its Priority fields. */
void fg_h2_apply_priority(struct fg_h2 *h2, struct fg_stream *stream);

/* Hands on what small DATA has been gathered, if its handler still wants it. */
void fg_h2_flush_gathered(struct fg_h2 *h2);

/* The stream is closed at the session; when its handler is done too, it moves to `finished`. */
void fg_h2_settle(struct fg_h2 *h2, struct fg_stream *stream);

/* Who has announced a body and waits for leave to send it (RFC 9110 section 10.1.1) has it. */
void fg_h2_send_continue(struct fg_h2 *h2, struct fg_stream *stream);

/* So much of a body that nobody wants is waited for, a second at most, before a reset stops it. */
#define FG_H2_UNWANTED_MAX ((size_t)1024)

/* Answered whole: tell the client to send no more of its body (RFC 9113 section 8.1). */
void fg_h2_dismiss(struct fg_h2 *h2, struct fg_stream *stream);

/* Cut the stream with an error code; what it had queued is dropped. */
void fg_h2_reset(struct fg_h2 *h2, struct fg_stream *stream, uint32_t error_code);

/* Tell the client how many streams it may open, if that has changed and it has heard the last. */
void fg_h2_tell_streams_max(struct fg_h2 *h2);

/* Begin to end the connection: no new streams once the client has heard of it. */
void fg_h2_shut_down(struct fg_h2 *h2);

#endif
