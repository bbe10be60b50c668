/*
 * h2_internal.h: the HTTP/2 codec's state, shared by its three files.
 *    h2.c           session, settings, time-outs, shutting down
 *    h2_request.c   from nghttp2's callbacks to requests
 *    h2_response.c  from the handler's calls to frames
 * Thread   the loop's.
 */
#ifndef FG_HTTP_H2_INTERNAL_H
#define FG_HTTP_H2_INTERNAL_H

#include "http/stream.h"

#include <nghttp2/nghttp2.h>

/* Less room than this is left unused rather than filled with a small frame. */
#define FG_H2_ROOM_MIN ((size_t)512)

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

    /* state */
    enum fg_h2_shutdown shutdown;
    uint32_t request_count;
    bool is_in_head; /* a header block has begun and not ended */
    bool is_head_timed;
    bool has_failed; /* the session is beyond use */

    /* while producing */
    char *to;
    size_t room;
    const uint8_t *pending; /* the session's, valid until it is asked for more */
    size_t pending_len;
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

/* The stream is closed at the session; when its handler is done too, it moves to `finished`. */
void fg_h2_settle(struct fg_h2 *h2, struct fg_stream *stream);

/* Cut the stream with an error code; what it had queued is dropped. */
void fg_h2_reset(struct fg_h2 *h2, struct fg_stream *stream, uint32_t error_code);

/* Begin to end the connection: no new streams once the client has heard of it. */
void fg_h2_shut_down(struct fg_h2 *h2);

#endif
