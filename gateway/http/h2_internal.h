/*
 * h2_internal.h: the HTTP/2 codec's state, shared by its files.
 *    h2.c           settings, time-outs, shutting down
 *    h2_frames.c    from the client's bytes to frames, and what they mean for the connection
 *    h2_request.c   from heads and content to requests
 *    h2_response.c  from the handler's calls to what is to go out
 *    h2_output.c    and in which order it does
 *    h2_head.c      heads of answers
 *    h2_wire.c      windows, states and the order of streams
 *    h2_drain.c     bodies that go on behind their answers
 *    h2_guard.c     floods, and frames for streams that are no more
 *    h2_priority.c  the order of answers that a client asks for in frames
 * Thread   the loop's.
 */
#ifndef FG_HTTP_H2_INTERNAL_H
#define FG_HTTP_H2_INTERNAL_H

#include "backends/h2_block.h"
#include "backends/hpack.h"
#include "backends/hpack_reader.h"
#include "http/h2_wire.h"
#include "http/stream.h"

#include <nghttp2/nghttp2.h> /* names of frame types, flags and error codes */

#define FG_H2_CONNECTION_WINDOW 262144

/* Less room than this is left unused rather than filled with a small frame. */
#define FG_H2_ROOM_MIN ((size_t)512)

#define FG_H2_SETTING_BYTES ((size_t)6)
#define FG_H2_SETTINGS_MAX ((size_t)32) /* in one frame: more than there are kinds of */

struct fg_h2_waiting; /* the priority of a stream to come */

enum fg_h2_shutdown {
    FG_H2_RUNNING,
    FG_H2_NOTICED, /* GOAWAY with the highest id and a PING: the client learns not to open streams
                    */
    FG_H2_FINAL,   /* GOAWAY with the last id served */
};

/* The payload of a frame that is neither content nor part of a head, as far as it is read. */
struct fg_h2_control {
    uint8_t len;
    uint8_t wanted;
    uint8_t bytes[FG_H2_SETTING_BYTES * FG_H2_SETTINGS_MAX];
};

/* Bytes that go out in one piece; NULL: none. */
struct fg_h2_bytes {
    uint8_t *data;
    size_t sent;
    size_t len;
    size_t room;
};

struct fg_h2 {
    struct fg_codec codec; /* first */

    struct fg_list streams;  /* open, or owed an answer by a handler */
    struct fg_list finished; /* closed; on_done when what they said is in the socket */
    struct fg_list drains;   /* of h2_drain.c */
    struct fg_h2_wires wires;

    /* state */
    enum fg_h2_shutdown shutdown;
    uint32_t request_count;
    uint32_t streams_max;    /* that the client may open at once, as it was last told */
    bool awaits_ack;         /* of SETTINGS: no further ones until then */
    bool has_heard_settings; /* the client's first */
    bool has_heard_goaway;
    bool is_head_timed;      /* a header block has begun, and has to end in time */
    bool owes_resets;        /* some streams do */
    uint32_t drains_leave;   /* of all drains together */
    bool has_failed;         /* the connection is beyond use */
    bool has_said_why;       /* the last GOAWAY is out */
    uint32_t failure_code;   /* for it */
    uint64_t moved_ns;       /* when DATA of any stream was last sent */
    uint64_t rests_since_ns; /* the last stream was done, or the connection opened */

    /* flow control of the connection, in bytes */
    int32_t send_window;
    int32_t initial_window; /* of what the client takes of a stream to come */
    int32_t recv_left;      /* that the client may still send */
    int64_t returned;       /* done with, and it has not been told; below 0: to be held back */
    bool owes_update;

    /* h2_guard.c */
    uint32_t allowance;         /* of frames that bring nothing */
    uint64_t allowance_ns;      /* when time was last counted in */
    uint64_t opened_ns;         /* the connection */
    uint64_t spent;             /* of the allowance in all, less what DATA earned */
    int32_t newest_id;          /* of the client's streams */
    int32_t served_id;          /* the newest that was not refused unread */
    uint64_t opened;            /* bit n: stream newest_id - 2n was opened */
    struct fg_h2_resets resets; /* streams that we reset */

    /* what the client says */
    size_t preface_left;
    struct fg_h2_scan scan;
    struct fg_h2_frame_head frame; /* the present one, unless it is of a header block */
    size_t frame_left;             /* bytes of its payload to come */
    size_t padding_left;           /* at the end of them */
    bool awaits_padding;           /* the byte that says how much there is comes next */
    struct fg_h2_wire *data_wire;  /* whose content it is; NULL: nobody takes it */
    struct fg_h2_control control;
    struct fg_h2_block block;
    struct fg_hpack_reader reader;

    /* h2_priority.c */
    struct fg_h2_waiting *waiting; /* NULL: none was ever */
    size_t waiting_count;
    size_t waiting_max;

    /* while reading one input: small DATA, see FG_SMALL_PIECE */
    char *gather;
    size_t gather_len;
    struct fg_stream *gather_stream;

    /* what goes out: before all else a head too large for one frame, then small frames */
    struct fg_h2_bytes long_head;
    struct fg_h2_bytes outbox;
    struct fg_hpack hpack;

    /* while producing */
    char *to;
    size_t room;
};

static inline struct fg_h2 *fg_h2_of(struct fg_codec *codec)
{
    return FG_CONTAINER_OF(codec, struct fg_h2, codec);
}

/* NULL: it is a drain's. */
static inline struct fg_stream *fg_h2_stream_of(struct fg_h2_wire *wire)
{
    return wire->is_drain ? NULL : FG_CONTAINER_OF(wire, struct fg_stream, wire);
}

static inline void fg_h2_wake(struct fg_h2 *h2)
{
    h2->codec.transport->ops->wake(h2->codec.transport);
}

extern const struct fg_response_ops fg_h2_response_ops;

/* ---- h2.c ---- */

/* The connection can go on no more: says why, once, and lets the client read it. */
void fg_h2_fail(struct fg_h2 *h2, uint32_t error_code, const char *reason);
/* The same, for what nobody does but to do harm: its address owes for it. */
void fg_h2_fail_flood(struct fg_h2 *h2, const char *reason);
/* Tell the client how many streams it may open, if that has changed and it has heard the last. */
void fg_h2_tell_streams_max(struct fg_h2 *h2);
/* Begin to end the connection: no new streams once the client has heard of it. */
void fg_h2_shut_down(struct fg_h2 *h2);
/* It has heard of it. */
void fg_h2_say_last_goaway(struct fg_h2 *h2);

/* ---- h2_frames.c ---- */

/* What the client says; sets has_failed when it breaks the rules. Returns how much was taken: all,
 * unless it gives way. */
size_t fg_h2_take_frames(struct fg_h2 *h2, const uint8_t *data, size_t len);

/* ---- h2_request.c ---- */

/*
 * The whole block that is there opens a stream, or ends one that is open; or is read for the table
 * of fields alone.
 */
void fg_h2_begin_stream(struct fg_h2 *h2, int32_t id, bool is_end);
void fg_h2_take_trailers(struct fg_h2 *h2, struct fg_h2_wire *wire, bool is_end);
void fg_h2_read_unwanted(struct fg_h2 *h2);
/* A piece of content. */
void fg_h2_take_data(struct fg_h2 *h2, struct fg_h2_wire *wire, const uint8_t *data, size_t len);
/* And its end. */
void fg_h2_end_data(struct fg_h2 *h2, struct fg_h2_wire *wire);
/* Hands on what small DATA has been gathered, if its handler still wants it. */
void fg_h2_flush_gathered(struct fg_h2 *h2);
/* The stream is over on the wire. */
void fg_h2_close_wire(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code);
/* When both sides have ended it. */
void fg_h2_close_if_ended(struct fg_h2 *h2, struct fg_h2_wire *wire);
/* The stream is closed on the wire; when its handler is done too, it moves to `finished`. */
void fg_h2_settle(struct fg_h2 *h2, struct fg_stream *stream);

/* ---- h2_output.c ---- */

size_t fg_h2_produce(struct fg_codec *codec, char *to, size_t room);
bool fg_h2_has_output(const struct fg_h2 *h2);
/* Small frames go out in the order of these calls, before heads and content. More than a client may
 * leave unread fail the connection. */
void fg_h2_say(struct fg_h2 *h2, uint8_t type, uint8_t flags, int32_t id, const uint8_t *payload,
               size_t len);
void fg_h2_say_reset(struct fg_h2 *h2, int32_t id, uint32_t error_code);
void fg_h2_say_goaway(struct fg_h2 *h2, int32_t last_id, uint32_t error_code);
/* RST_STREAM; what the stream had to say is dropped. Only the first one counts. */
void fg_h2_reset_wire(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code);
/* Has the stream content to send that may be sent? To be called whenever that may have changed. */
void fg_h2_offer(struct fg_h2 *h2, struct fg_stream *stream);
/* So many bytes of content, or what surrounded it, are done with: of the stream and the connection,
 * or of the connection alone. */
void fg_h2_give_back(struct fg_h2 *h2, struct fg_h2_wire *wire, size_t len);
void fg_h2_give_back_unread(struct fg_h2 *h2, size_t len);
void fg_h2_bytes_drop(struct fg_h2 *h2, struct fg_h2_bytes *bytes);

/*
 * ---- h2_head.c ----
 * What the head of an answer, an interim one or trailers say. Fields are copied where they do not
 * last. False: no memory for it, and where it is for trailers the stream is reset; or they say
 * nothing.
 */
bool fg_h2_say_head(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                    const struct fg_field *fields, size_t field_count, bool is_last);
bool fg_h2_say_interim(struct fg_h2 *h2, struct fg_stream *stream, unsigned status,
                       const struct fg_field *fields, size_t field_count);
bool fg_h2_say_trailers(struct fg_h2 *h2, struct fg_stream *stream);
enum fg_h2_put {
    FG_H2_PUT_DONE,    /* it is on its way */
    FG_H2_PUT_NO_ROOM, /* here; it has to wait */
    FG_H2_PUT_NO_MEMORY,
};
/* The frame, or frames, of the oldest of these. `*is_last`: it ends the stream. */
enum fg_h2_put fg_h2_put_head(struct fg_h2 *h2, struct fg_stream *stream, bool *is_last);
void fg_h2_drop_heads(struct fg_h2 *h2, struct fg_stream *stream);

/* ---- h2_guard.c ---- */

/* A frame's head may stand there; false: the connection has failed. */
FG_MUST_USE bool fg_h2_guard_frame(struct fg_h2 *h2, const struct fg_h2_frame_head *hd);
/* Of the stream, or of what is left of it; NULL: of one that is no more. The same. */
FG_MUST_USE bool fg_h2_guard_reset(struct fg_h2 *h2, struct fg_h2_wire *wire);
/* Content or a head for a stream that is not open, or is to be reset. The same. */
FG_MUST_USE bool fg_h2_guard_gone(struct fg_h2 *h2, const struct fg_h2_frame_head *hd);
/* A reset undoes a request that was begun, upstream as well: far more work than another frame. */
#define FG_H2_RESET_COST 8u
/* What was on its way when we reset a stream is at most its window, and few frames. */
#define FG_H2_LATE_COST 1u
/* Take from the connection's allowance; false, and it has failed, when it is used up. */
FG_MUST_USE bool fg_h2_spend(struct fg_h2 *h2, uint32_t cost);
void fg_h2_earn(struct fg_h2 *h2, uint32_t gained);
/* Something malformed of a stream's, which is to be reset: that costs as much as the client's own
 * resets. The same. */
bool fg_h2_blame(struct fg_h2 *h2, const char *reason);
/* And resets it. */
void fg_h2_reset_for(struct fg_h2 *h2, struct fg_h2_wire *wire, uint32_t error_code,
                     const char *reason);
/* At the beginning: the burst, less what the address owes, but for a part that everybody gets. */
void fg_h2_guard_open(struct fg_h2 *h2);
/* At the end: what its address is to owe for this connection. Says it once. */
void fg_h2_guard_close(struct fg_h2 *h2);
void fg_h2_note_opened(struct fg_h2 *h2, int32_t id);

/* ---- h2_drain.c ---- */

/* The handler has ended, the body has not: the client may send the rest, if it is to be read. */
void fg_h2_drain_open(struct fg_h2 *h2, struct fg_stream *stream);
/* The answer is out before the body's end: from now on the drain has the wire, and what comes is
 * thrown away. False: it is not to be read. */
bool fg_h2_drain_begin(struct fg_h2 *h2, struct fg_stream *stream);
/* DATA has come for it. False, and the connection has failed: more small pieces than may be sent
 * that bring nothing. */
bool fg_h2_drain_note(struct fg_h2 *h2, struct fg_h2_wire *wire, size_t len);
/* What is known of the request whose body is read behind its answer. */
struct fg_h2_check *fg_h2_drain_check(struct fg_h2_wire *wire);
/* The stream is over; it need not have been one that drains. */
void fg_h2_drain_forget(struct fg_h2 *h2, int32_t id);
void fg_h2_drain_forget_all(struct fg_h2 *h2);

/* ---- h2_priority.c ---- */

/* PRIORITY_UPDATE. `is_cut`: it is longer than anything that says something. */
void fg_h2_take_update(struct fg_h2 *h2, int32_t frame_stream_id, const uint8_t *payload,
                       size_t len, bool is_cut);
/* The stream has opened: what was said of it before counts now, or else its Priority fields. */
void fg_h2_apply_priority(struct fg_h2 *h2, struct fg_stream *stream);

/* ---- h2_response.c ---- */

/* Who has announced a body and waits for leave to send it (RFC 9110 section 10.1.1) has it. */
void fg_h2_send_continue(struct fg_h2 *h2, struct fg_stream *stream);
/* So much of a body that nobody wants is waited for, a second at most, before a reset stops it. */
#define FG_H2_UNWANTED_MAX ((size_t)1024)
/* Answered whole: tell the client to send no more of its body (RFC 9113 section 8.1). */
void fg_h2_dismiss(struct fg_h2 *h2, struct fg_stream *stream);
/* Cut the stream with an error code; what it had queued is dropped. */
void fg_h2_reset(struct fg_h2 *h2, struct fg_stream *stream, uint32_t error_code);
/* The stream's END_STREAM has been sent. */
void fg_h2_note_local_end(struct fg_h2 *h2, struct fg_stream *stream);
/* A frame with `len` bytes of the stream's content has been sent. */
void fg_h2_note_sent(struct fg_h2 *h2, struct fg_stream *stream, size_t len, bool is_end);

#endif
