/*
 * h2_internal.h: a connection that attempts share as streams (h2.c), the heads that it sends
 *                (h2_head.c), and what comes back (h2_watch.c, h2_answer.c).
 * Thread   the owning event loop.
 */
#ifndef FG_PROXY_H2_INTERNAL_H
#define FG_PROXY_H2_INTERNAL_H

#include "h2_input.h"
#include "proxy_internal.h"

#include "backends/hpack.h"
#include "backends/hpack_reader.h"

#include "policies/token_bucket.h"

#include <nghttp2/nghttp2.h>

#define FG_H2_STREAM_WINDOW 262144u /* most of an answer that waits here for a slow client */
#define FG_H2_CONNECTION_WINDOW (16u << 20)
#define FG_H2_ENDED_SEVERAL (-1)
#define FG_H2_EARNED_BY_HEAD 16u /* a reset, a window, another's settings and priorities */
#define FG_H2_EARNED_BY_DATA 64u /* windows in small pieces, for the stream and the connection */

struct fg_h2 {
    struct fg_upstream *upstream;
    nghttp2_session *session;
    struct fg_byte_queue out;     /* not yet taken by the socket */
    struct fg_hpack hpack;        /* what the server remembers of our heads */
    struct fg_proxy_attempt *due; /* whose head's frame the session has just made */
    struct fg_list dirty;         /* link in thread->dirty */
    struct fg_list streams;       /* attempts */
    struct fg_list tunnels;       /* attempts that wait to know whether they may be begun */
    uint32_t stream_count;
    struct fg_timeout_entry keepalive; /* in a list of the thread's, if the cluster has keepalive */
    uint64_t heard_ns;                 /* when the last bytes came */
    bool has_settings;                 /* the server's */
    bool is_draining;                  /* takes no new streams */
    bool is_in_session;                /* below one of its callbacks */
    bool is_broken;

    /* what comes in */
    struct fg_h2_input input;
    struct fg_hpack_reader reader; /* what we remember of the server's heads */
    struct fg_h2_resets resets;    /* streams that we gave up before their end */
    uint32_t late_left;            /* bytes that may still come for such */
    int32_t newest_id;             /* of the streams that the server has heard of */
    int32_t cut_id;                /* the stream that it has reset last */
    int32_t ended_id; /* that a frame ends which the session has not seen; 0: none, or several */
    bool is_refusing; /* it is known that the input is deaf */
    struct fg_token_bucket idle_frames; /* that bring nothing, beyond these: */
    uint32_t idle_frames_earned;        /* by what moved */

    /* while one read is taken: small DATA of one stream */
    struct fg_gather *gather;
    int32_t gather_id;
};

/* ---- h2.c: streams ---- */

/* NULL: nobody's any more. */
struct fg_proxy_attempt *fg_h2_attempt_of(nghttp2_session *session, int32_t stream_id);
/* The stream has no attempt any more; it may still be open towards the server. */
void fg_h2_forget(struct fg_h2 *h2, struct fg_proxy_attempt *attempt);
void fg_h2_reset_stream(struct fg_h2 *h2, int32_t stream_id, uint32_t code);
/* The attempt is over, its stream reset. */
void fg_h2_lose(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, enum fg_retry_cause cause,
                const char *detail);
/* The same for an answer that is none. */
void fg_h2_lose_malformed(struct fg_h2 *h2, struct fg_proxy_attempt *attempt, const char *detail);

/* ---- h2_watch.c ---- */

extern const struct fg_h2_input_ops fg_h2_watch_ops;
void fg_h2_watch_open(struct fg_h2 *h2);
/* Something has moved, for which the server may say so many frames that bring nothing. */
void fg_h2_watch_earn(struct fg_h2 *h2, uint32_t frames);
/* What was read, for the session. Not 0: it can go on no more. */
int fg_h2_watch_take(struct fg_h2 *h2, const uint8_t *data, size_t len);
/* We end the stream while the server may still send: that is late, and no fault. */
void fg_h2_watch_note_reset(struct fg_h2 *h2, int32_t stream_id);

/* ---- h2_answer.c ---- */

/* Reads the header block that is there, for the attempt or, if NULL, for the table alone. 0, or an
 * error of nghttp2's. */
int fg_h2_answer_read(struct fg_h2 *h2, struct fg_proxy_attempt *attempt);
void fg_h2_set_answer_callbacks(nghttp2_session_callbacks *callbacks);
/* Small DATA that one read has brought goes to its attempt in one piece. */
void fg_h2_hand_on_gathered(struct fg_h2 *h2);

/* ---- h2_head.c ---- */

/*
 * A stream whose head says these fields, which lie in the exchange's arena; its id, or below 0.
 * `body` is NULL where the head is all.
 */
int32_t fg_h2_head_submit(struct fg_h2 *h2, struct fg_proxy_attempt *attempt,
                          const struct fg_field *fields, size_t count,
                          const nghttp2_data_provider *body);
/* What ends the request; false: there is nothing, or no memory for it. */
bool fg_h2_head_submit_trailers(struct fg_h2 *h2, struct fg_proxy_attempt *attempt);
/* The session has made the frame of the attempt's head, or of its trailers. */
void fg_h2_head_note(struct fg_h2 *h2, struct fg_proxy_attempt *attempt);
/*
 * The frame that is due, at `to`, where FG_H2_HEAD_MAX bytes have room, in place of the session's,
 * which begins at `made`; its length.
 */
size_t fg_h2_head_put(struct fg_h2 *h2, const uint8_t *made, uint8_t *to);

#define FG_H2_HEAD_MAX ((size_t)8192) /* of a frame of ours; larger heads are the session's */

#endif
